"""The settings of variants, fits and data sets, with all that they inherit."""

from __future__ import annotations

import copy

import pytest

from gmcn import config
from gmcn.errors import InputError
from tests.config.examples import REAL, SMALL, changed, sentence


def test_real_configuration_is_valid_and_every_pair_resolves():
    for dataset in REAL["datasets"]:
        for variant in REAL["variants"]:
            assert config.resolve(REAL, dataset, variant)["fit"] in (None, *REAL["fits"])


def test_five_layer_network_is_the_papers():
    resolved = config.resolve(REAL, "modelnet10", "treehem2")
    assert resolved["network"]["layers"] == [[8, 64], [16, 32], [32, 16], [64, 8]]
    assert config.fit(REAL, resolved["fit"])["components"] == 128
    assert (resolved["training"]["epochs"], resolved["training"]["batch_size"]) == (60, 21)


def test_resolve_merges_mappings_and_replaces_the_rest():
    resolved = config.resolve(SMALL, "digits", "child")
    assert resolved["training"] == {
        "epochs": 9,
        "batch_size": 8,
    }  # own key over the base's, data set's from the base
    assert resolved["network"] == SMALL["variants"]["base"]["network"]
    assert config.resolve(SMALL, "solids10", "child")["fit"] == "kmeans4"
    assert "base" not in resolved
    assert "datasets" not in resolved
    lists = changed("variants.child.network", {"layers": []})
    assert config.resolve(lists, "digits", "child")["network"] == {"layers": [], "kernel_components": 5}


def test_a_fit_by_a_network_names_the_first_network_of_its_variant():
    raw = copy.deepcopy(SMALL)
    raw["fits"]["hgmm"] = {"method": "pointgmm", "variant": "clouds", "components": 32}
    clouds = {"base": "base", "task": "generation", "fit": None, "seeds": [4, 5], "network": {"kind": "pointgmm"}}
    raw["variants"]["clouds"] = clouds
    config.check(raw)
    found = config.network_of_fit(raw, "solids10", "hgmm")
    assert found == {"variant": "clouds", "seed": 4, "task": "generation"}
    assert config.network_of_fit(raw, "solids10", "kmeans8") is None

    def words() -> str:
        with pytest.raises(InputError) as error:
            config.network_of_fit(raw, "solids10", "hgmm")
        return str(error.value)

    raw["variants"]["clouds"]["fit"] = "kmeans8"
    assert "made by variant 'clouds', which must be a network `kind: pointgmm` with `fit: null`" in words()
    raw["fits"]["hgmm"]["method"] = "kmeans"
    assert "fit 'hgmm' names a variant, which belongs to `method: pointgmm`" in words()
    raw["fits"]["hgmm"] = {"method": "pointgmm", "components": 32}
    assert "fit 'hgmm' has no variant" in words()
    raw["fits"]["hgmm"]["variant"] = "cloud"
    assert "unknown variant 'cloud'; did you mean 'clouds'?" in sentence(raw)


def test_a_network_of_another_kind_replaces_that_of_the_base():
    raw = changed("variants.child.network", {"kind": "pointnet2", "dropout": 0.1})
    raw["variants"]["heir"] = {"base": "child", "network": {"radii": [0.5, 1.0]}}
    raw["variants"]["same"] = {"base": "base", "network": {"kind": "gmcn", "kernel_components": 3}}
    config.check(raw)
    heir = config.resolve(raw, "digits", "heir")
    assert heir["network"] == {"kind": "pointnet2", "dropout": 0.1, "radii": [0.5, 1.0]}
    assert heir["training"]["epochs"] == 9
    assert config.resolve(raw, "digits", "same")["network"] == {
        "kind": "gmcn",
        "layers": [[8, 4]],
        "kernel_components": 3,
    }
    raw["variants"]["heir"]["network"] = {"layers": []}
    assert "unknown key 'variants.heir.network.layers'" in sentence(raw)


def test_resolving_leaves_the_configuration_as_it_was():
    before = copy.deepcopy(SMALL)
    resolved = config.resolve(SMALL, "digits", "child")
    resolved["network"]["layers"].append([1, 1])
    resolved["training"]["epochs"] = 0
    assert before == SMALL


def test_a_variant_on_a_fold_is_that_variant():
    own, fold = (config.resolve(SMALL, "digits", name) for name in ("child", "child-fold2of5"))
    assert fold["training"].pop("fold") == "2 of 5"
    assert fold == own
    config.check_target(SMALL, "results/runs/digits_child-fold2of5/seed0/training.json")
    heir = changed("variants.heir", {"base": "child-fold1of2", "training": {"epochs": "4"}})
    assert config.resolve(config.check(heir), "digits", "heir")["training"]["fold"] == "1 of 2"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("child-fold6of5", "'child-fold6of5' names fold 6 of 5, which does not exist"),
        ("child-fold1of1", "names fold 1 of 1, which does not exist"),
        ("child-fold0of5", "unknown variant 'child-fold0of5'"),
        ("chid-fold1of5", "unknown variant 'chid'; did you mean 'child'?"),
        ("child-fold1of5-fold1of5", "unknown variant 'child-fold1of5'"),
    ],
)
def test_a_fold_that_is_none_is_refused_in_one_sentence(name, part):
    for ask in (
        lambda: config.resolve(SMALL, "digits", name),
        lambda: config.check_target(SMALL, f"results/runs/digits_{name}/seed0/training.json"),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert part in str(error.value)


def test_incomplete_variant_says_what_is_missing():
    bare = changed("variants.bare", {"fit": "kmeans8", "seeds": [0]})
    with pytest.raises(InputError, match="'bare' has no network and no training and no probe"):
        config.resolve(bare, "digits", "bare")


def test_every_variant_wins_and_shrink_divides_networks_and_fits():
    raw = changed("every_variant", {"seeds": [4], "training": {"epochs": 1}})
    raw["shrink"] = 4
    raw["fits"]["tree"] = {"method": "eckart", "components": 125, "branching": 5}
    config.check(raw)
    resolved = config.resolve(raw, "digits", "child")
    assert resolved["training"] == {"epochs": 1, "batch_size": 8}
    assert (resolved["seeds"], resolved["network"]["layers"]) == ([4], [[2, 1]])
    assert resolved["network"]["kernel_components"] == 5
    assert config.stage_settings(raw, "fit", "digits", "kmeans8")["components"] == 2
    assert config.fit(raw, "tree")["components"] == 25
    del raw["fits"]["tree"]["branching"]
    assert config.fit(raw, "tree")["components"] == 25
    assert raw["fits"]["kmeans8"]["components"] == 8


def test_every_kind_of_network_has_a_variant():
    from gmcn.models import NETWORKS

    networks = (config.resolve(REAL, "digits", variant)["network"] for variant in REAL["variants"])
    assert {network.get("kind", "gmcn") for network in networks} == set(NETWORKS)


@pytest.mark.parametrize(
    ("own", "part"),
    [
        ({"fit": "hgmm32"}, "the method pointgmm makes none"),
        ({"fit": None, "network": {"kind": "pointnet"}}, "nothing in its training varies an object"),
        ({"task": "density", "fit": None}, "which are for the task classification"),
    ],
)
def test_votes_that_would_be_one_are_refused_before_a_training(own, part):
    said = copy.deepcopy(REAL)
    said["variants"]["voting"] = {"base": "small", "votes": 3, **own}
    with pytest.raises(InputError, match=part):
        config.resolve(said, "modelnet10", "voting")
    said["variants"]["voting"] = {"base": "small", "votes": 3, "fit": None, "training": {"views": {"points": 9}}}
    assert config.resolve(said, "modelnet10", "voting")["votes"] == 3


@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_votes_on_fits_of_images_are_refused_before_a_training(dataset):
    said = copy.deepcopy(REAL)
    said["variants"]["voting"] = {"base": "small", "votes": 3}
    assert config.resolve(said, "modelnet10", "voting")["votes"] == 3
    with pytest.raises(InputError, match=f"new fits of points, but {dataset} has images; leave them out"):
        config.resolve(said, dataset, "voting")
