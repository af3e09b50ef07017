"""The configuration: what it resolves to, and what it says to someone who made a mistake."""

from __future__ import annotations

import copy
import json

import pytest
import yaml

from gmcn import config
from gmcn.errors import InputError, unknown
from gmcn.stages import STAGES
from gmcn.stages.options import DATASET
from tests.conftest import ROOT

REAL = config.load(ROOT / "config.yaml")

SMALL = {
    "datasets": {"digits": {"kind": "digits"}, "solids10": {"kind": "solids"}},
    "fits": {"kmeans8": {"method": "kmeans", "components": 8}, "kmeans4": {"method": "kmeans", "components": 4}},
    "variants": {
        "base": {
            "fit": "kmeans8",
            "seeds": [0],
            "network": {"layers": [[8, 4]], "kernel_components": 5},
            "training": {"epochs": 3, "batch_size": 4},
            "probe": {"shapes": 2},
            "datasets": {"digits": {"training": {"batch_size": 8}}},
        },
        "child": {"base": "base", "training": {"epochs": 9}, "datasets": {"solids10": {"fit": "kmeans4"}}},
    },
}


def changed(path: str, value: object) -> dict:
    """A copy of the small configuration with one key, given as ``a.b.c``, set."""
    new = copy.deepcopy(SMALL)
    place = new
    *keys, last = path.split(".")
    for key in keys:
        place = place.setdefault(key, {})
    place[last] = value
    return new


def sentence(raw: dict) -> str:
    with pytest.raises(InputError) as error:
        config.check(raw)
    text = str(error.value)
    assert "\n" not in text
    return text


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


def test_stages_are_given_only_what_they_read():
    train = config.stage_settings(SMALL, "train", "digits", "child")
    assert set(train) == {"network", "training"}
    assert config.stage_settings(SMALL, "probe", "digits", "child") == {"shapes": 2}
    assert config.stage_settings(SMALL, "fit", "digits", "kmeans4")["components"] == 4
    one = config.stage_settings(REAL, "download", "mnist", "t10k-labels-idx1-ubyte.gz")
    assert [file["name"] for file in one["files"]] == ["t10k-labels-idx1-ubyte.gz"]
    assert len(config.stage_settings(REAL, "download", "mnist", None)["files"]) == 4


def test_without_a_fit_networks_are_trained_on_the_objects_themselves():
    raw = copy.deepcopy(SMALL)
    raw["variants"]["raw"] = {"base": "child", "fit": None, "network": {"kind": "pointnet"}}
    del raw["variants"]["base"]["probe"]  # which a network without mixtures inside does not need
    assert config.check(raw)["variants"]["raw"]["fit"] is None
    resolved = config.resolve(raw, "digits", "raw")
    assert (resolved["fit"], config.measured(resolved)) == (None, ["footprint"])
    assert config.measured(config.resolve(SMALL, "digits", "child")) == ["rmse", "footprint"]
    assert config.stage_settings(raw, "probe", "digits", "raw") == {}
    with pytest.raises(InputError, match="variant 'base' has no probe"):
        config.resolve(raw, "digits", "base")
    raw["tables"] = {
        "one": {"title": "One", "dataset": "digits", "columns": ["accuracy"], "rows": [{"variant": "raw"}]}
    }
    assert config.tables.table_of(raw, "one")["rows"][0]["label"] == "raw"


def test_only_another_task_than_the_default_is_a_setting_of_stages():
    said = copy.deepcopy(SMALL)
    said["variants"]["child"]["task"] = "classification"
    assert config.check(said)
    stages = ("train", "evaluate", "probe", "footprint", "summarise")
    for stage in stages:
        assert config.stage_settings(said, stage, "digits", "child") == config.stage_settings(
            SMALL, stage, "digits", "child"
        )
    said["variants"]["child"]["task"] = "density"
    given = {stage: config.stage_settings(said, stage, "digits", "child").get("task") for stage in stages}
    assert given == {**dict.fromkeys(stages, "density"), "probe": None}


def test_tasks_are_those_of_the_library():
    said = copy.deepcopy(SMALL)
    said["variants"]["child"]["task"] = "classification2"
    with pytest.raises(
        InputError, match=r"unknown task 'classification2'; did you mean 'classification'.*variants\.child"
    ):
        config.check(said)


def test_the_number_of_processes_makes_nothing_run_again():
    more = copy.deepcopy(SMALL)
    more["every_variant"] = {"training": {"devices": 2, "nodes": 3}}
    assert config.check(more)
    assert config.processes_of(SMALL, "digits", "child") == {"devices": 1, "nodes": 1}
    assert config.processes_of(more, "digits", "child") == {"devices": 2, "nodes": 3}
    for stage in ("train", "footprint"):
        before, after = (config.stage_settings(some, stage, "digits", "child") for some in (SMALL, more))
        assert before == after


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if DATASET in stage.options])
def test_a_description_makes_nothing_run_again(stage):
    before, after = REAL, copy.deepcopy(REAL)
    for section in ("datasets", "fits", "variants"):
        for name in after[section]:
            after[section][name]["description"] = f"another word on {name}"
    config.check(after)
    for dataset in REAL["datasets"]:
        names = {"download": [None], "sample": [None], "fit": REAL["fits"], "draw-fits": [None]}
        for name in names.get(stage, REAL["variants"]):
            given = [config.stage_settings(some, stage, dataset, name) for some in (before, after)]
            assert given[0] == given[1]
            assert "description" not in json.dumps(given)


def test_a_description_is_of_one_variant_and_not_of_its_heirs():
    raw = changed("variants.base.description", "eight Gaussians")
    config.check(raw)
    assert config.resolve(raw, "digits", "child") == config.resolve(SMALL, "digits", "child")
    assert "'variants.base.description' is 7, but must be text" in sentence(changed("variants.base.description", 7))


def test_every_kind_of_network_has_a_variant():
    from gmcn.models import NETWORKS

    networks = (config.resolve(REAL, "digits", variant)["network"] for variant in REAL["variants"])
    assert {network.get("kind", "gmcn") for network in networks} == set(NETWORKS)


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (
            "variants.child.training.epoch",
            3,
            ["unknown key 'variants.child.training.epoch'", "did you mean 'epochs'?"],
        ),
        ("variants.child.training.learning_rate", "1e-3x", ["'1e-3x'", "must be a number"]),
        ("variants.child.training.epochs", "9" * 5000, ["must be a whole number"]),
        ("variants.child.training.epochs", "2.5", ["must be a whole number"]),
        ("variants.child.training.learning_rate", "1e999", ["must be a number"]),
        ("variants.child.network", {"kind": "pointnet", "dropout": "1"}, ["network.dropout", "less than 1"]),
        ("tracking", {"enabled": "2"}, ["must be true or false"]),
        ("variants.child.fit", 7, ["'variants.child.fit' is 7, but must be text or null; write it in quotes"]),
        ("results", True, ["'results' is True, but must be text; write it in quotes"]),
        ("variants.child.training.epochs", 0, ["variants.child.training.epochs", "at least 1"]),
        ("variants.child.training.batch_size", 1.5, ["must be a whole number"]),
        ("variants.child.training.schedule", "cosin", ["one of cosine, constant"]),
        ("variants.child.training.augmentation", "axis", ["must be a mapping of keys to values or null"]),
        ("variants.child.training.augmentation", {"rotate": "any"}, ["did you mean 'rotation'?"]),
        ("variants.child.training.augmentation", {"rotation": "all"}, ["one of none, axis, any"]),
        ("variants.child.training.augmentation", {"dropping": 1}, ["augmentation.dropping", "less than 1"]),
        ("variants.child.training.augmentation", {"scaling": [0, 1]}, ["scaling.0", "greater than 0"]),
        ("variants.child.network.layers", [[8]], ["variants.child.network.layers.0", "at least 2 items"]),
        ("variants.child.network.reduction", "treehem", ["variants.child.network.reduction", "treehem<T>"]),
        ("variants.child.network.kind", "pointnet3", ["network.kind", "one of gmcn, pointnet, pointnet2"]),
        ("variants.child.network", {"layrs": []}, ["'variants.child.network.layrs'; did you mean 'layers'?"]),
        ("variants.base.network.layrs", [], ["unknown key 'variants.base.network.layrs'"]),
        (
            "variants.child.network",
            {"kind": "pointnet", "layers": [[8, 4]]},
            ["unknown key 'variants.child.network.layers'", "(known here: dropout, features, kind, regularization)"],
        ),
        ("variants.child.network", {"kind": "pointnet", "features": "points"}, ["one of positions, gaussians"]),
        ("variants.child.network", {"kind": "pointnet", "dropout": 1}, ["network.dropout", "less than 1"]),
        ("variants.child.network", {"kind": "pointnet2", "radii": [1.0]}, ["network.radii", "at least 2 items"]),
        ("variants.child.network", {"kind": "pointnet2", "centroids": [8, 0]}, ["centroids.1", "at least 1"]),
        ("variants.child.datasets.digits", {"network": {"kind": "pointnet", "layers": []}}, ["unknown key", "layers"]),
        ("variants.child.base", "bsae", ["unknown variant 'bsae'", "did you mean 'base'?", "as the base of"]),
        ("variants.child.fit", "kmeans9", ["unknown fit 'kmeans9'", "kmeans4, kmeans8", "variants.child"]),
        ("variants.child.datasets.digit", {}, ["unknown data set 'digit'", "did you mean 'digits'?"]),
        ("variants.two_words", {}, ["two_words", "underscore"]),
        ("variants.base.base", "child", ["in a circle", "child"]),
        ("fits.kmeans8.methods", "em", ["unknown key 'fits.kmeans8.methods'", "did you mean 'method'?"]),
        ("fits.fresh", {"method": "kmeans"}, ["the key 'components' is missing in 'fits.fresh'"]),
        ("datasets.digits.points", 7, ["unknown key 'datasets.digits.points'", "test_fraction"]),
        ("datasets.digits.kind", "digit", ["datasets.digits.kind", "one of digits, solids"]),
        ("datasets.new", {"kind": "images"}, ["the key 'files' is missing in 'datasets.new'"]),
        ("datasets.new", {"kind": "meshes"}, ["'datasets.new' needs exactly one of 'files' and 'path'"]),
        (
            "datasets.new",
            {"kind": "clouds", "path": "mine", "files": [{"name": "a.npz", "url": None}]},
            ["'datasets.new' needs exactly one of 'files' and 'path'"],
        ),
        ("datasets.new", {"kind": "splats", "path": "mine", "points": 9}, ["unknown key 'datasets.new.points'"]),
        ("datasets.new", {"kind": "meshes", "path": "mine", "bad_objects": "ignore"}, ["one of stop, skip"]),
        ("illustrations", {"result": "digits_fast"}, ["unknown variant 'fast'"]),
        ("every_variant", {"epochs": 3}, ["unknown key 'every_variant.epochs'", "training"]),
        ("targets", ["digits_fast"], ["unknown variant 'fast'"]),
        ("fits", {}, ["'fits' is {}, but must have at least 1 items"]),
        ("results", "", ["'results' is '', but must not be empty"]),
        ("trackin", {}, ["unknown key 'trackin'", "did you mean 'tracking'?"]),
    ],
)
def test_mistakes_are_explained_in_one_sentence(path, value, parts):
    text = sentence(changed(path, value))
    for part in parts:
        assert part in text


def test_text_is_taken_for_what_the_schema_wants_and_else_stays_text():
    """As Snakemake hands over whatever stands inside the braces of --config."""
    raw = changed("tracking", {"enabled": "false"})
    raw["shrink"] = "1"
    raw["results"] = "2024"
    raw["datasets"]["solids10"] = {"kind": "solids", "seed": "3", "normalize": "True", "points": "+64"}
    raw["datasets"]["digits"]["test_fraction"] = ".25"
    raw["datasets"]["mine"] = {"kind": "images", "files": [{"name": "a.gz", "url": "null"}]}
    raw["variants"]["child"]["training"] = {"learning_rate": "1e-3", "augmentation": "null", "step_epochs": "2"}
    raw["variants"]["child"]["network"] = {"kernel_components": "3", "layers": [["8", "4"]]}
    raw["variants"]["child"]["datasets"]["digits"] = {
        "network": {"kl_threshold": "null", "relu_smoothing": ["0", ".5"]}
    }
    raw["tables"] = {"mine": {"title": "7", "kind": "footprint", "fused": "no", "columns": ["mib2d"], "rows": [
        {"label": "1", "layer": "1", "paper": {"mib2d": "2.25"}}]}}  # fmt: skip
    before = copy.deepcopy(raw)
    read = config.check(raw)
    assert raw == before
    assert (read["tracking"], read["shrink"], read["results"]) == ({"enabled": False}, 1, "2024")
    assert read["datasets"]["solids10"] == {"kind": "solids", "seed": 3, "normalize": True, "points": 64}
    assert read["datasets"]["digits"]["test_fraction"] == 0.25
    assert read["datasets"]["mine"]["files"] == [{"name": "a.gz", "url": "null"}]  # an address is text
    assert read["variants"]["child"]["training"] == {"learning_rate": 1e-3, "augmentation": None, "step_epochs": 2}
    assert read["variants"]["child"]["network"] == {"kernel_components": 3, "layers": [[8, 4]]}
    own = {"kl_threshold": None, "relu_smoothing": [0, 0.5]}
    assert read["variants"]["child"]["datasets"]["digits"] == {"network": own}
    table = read["tables"]["mine"]
    assert (table["title"], table["fused"]) == ("7", False)
    assert table["rows"] == [{"label": "1", "layer": 1, "paper": {"mib2d": "2.25"}}]


def test_what_is_no_option_any_more_may_still_be_said():
    old = changed("variants.base.network.readout", "integral")
    assert config.check(old) == old
    assert "'variants.base.network.readout' is 'maximum', but must be one of integral" in sentence(
        changed("variants.base.network.readout", "maximum")
    )


def test_text_of_a_base_is_taken_once_for_all_that_inherit_it():
    raw = changed("variants.base.network.kernel_components", "3")
    raw["variants"]["child"]["datasets"]["digits"] = {"network": {"layers": [["2", "2"]]}}
    read = config.check(raw)
    assert config.resolve(read, "digits", "child")["network"] == {"layers": [[2, 2]], "kernel_components": 3}
    assert config.resolve(read, "solids10", "child")["network"] == {"layers": [[8, 4]], "kernel_components": 3}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("7", "a name in 'variants' is 7 and no text to YAML; write it in quotes, as in '7'"),
        ("1.5", "is 1.5 and no text"),
        ("on", "is true to YAML, as are on and yes; write it in quotes, as in 'on'"),
        ("no", "is false to YAML, as are off and no; write it in quotes, as in 'off'"),
        ("null", "is nothing to YAML, as are null and ~; write it in quotes, as in 'null'"),
        ("2024-01-01", "is 2024-01-01 and no text"),
    ],
)
@pytest.mark.parametrize("section", ["variants", "fits", "datasets"])
def test_names_that_yaml_reads_as_something_else_are_refused_in_one_sentence(tmp_path, section, name, part):
    path = tmp_path / "config.yaml"
    path.write_text(f"{section}:\n  {name}: {{}}\n")
    with pytest.raises(InputError) as error:
        config.load(path)
    assert str(error.value).startswith(f"{path}: a name in '{section}' is ")
    assert part.removeprefix("a name in 'variants' ") in str(error.value)
    raw = copy.deepcopy(SMALL)
    raw[section] |= yaml.safe_load(f"{name}: {{}}")
    assert "write it in quotes" in sentence(raw)


def test_names_in_quotes_and_other_text_are_names():
    raw = copy.deepcopy(SMALL)
    raw["variants"] |= {"7": {"base": "base"}, "on": {"base": "7"}, "1e3": {"base": "on", "fit": "8"}, "null": {}}
    raw["fits"]["8"] = {"method": "kmeans", "components": 8}
    read = config.check(raw)
    assert config.resolve(read, "digits", "1e3")["fit"] == "8"


def test_names_that_are_there_twice_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"{yaml.safe_dump(SMALL)}\nshrink: 2\nfits:\n  a: {{method: kmeans}}\n")
    lines = path.read_text().splitlines()
    with pytest.raises(InputError) as error:
        config.load(path)
    first, second = (number + 1 for number, line in enumerate(lines) if line == "fits:")
    assert str(error.value) == f"{path} says 'fits' twice in one place, in lines {first} and {second}"


def test_a_key_over_that_of_an_anchor_is_not_there_twice(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: {<<: *a}\n")
    assert config.together(path) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 1}}


def test_without_jsonschema_names_are_checked_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(config.reading, "_validator", lambda: None)
    assert config.check(SMALL) == SMALL
    assert "config.yaml is not checked against its schema: pip install jsonschema" in caplog.text
    assert "unknown variant 'bsae'" in sentence(changed("variants.child.base", "bsae"))
    assert "config.yaml is no configuration" in sentence({"variants": 3})


def test_addresses_with_passwords_are_known_by_data_set_and_file():
    raw = copy.deepcopy(SMALL)
    urls = {"a": "https://anna:s3cret@host/a", "b": "https://host/b", "c": "https://host/c?token=1", "d": None}
    raw["datasets"]["mine"] = {"kind": "clouds", "files": [{"name": key, "url": url} for key, url in urls.items()]}
    assert config.secret_addresses(raw) == {"mine/a": urls["a"], "mine/c": urls["c"]}


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
    assert raw["fits"]["kmeans8"]["components"] == 8


def test_files_are_merged_in_their_order(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump(SMALL))
    second.write_text("variants: {child: {training: {epochs: 5}}}")
    loaded = config.load(first, second)
    assert loaded["variants"]["child"] == {**SMALL["variants"]["child"], "training": {"epochs": 5}}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist"),
        ("a: [", "not readable YAML"),
        ("- a", "must be a mapping"),
        ("a:\n\tb: 1", "tabs indent nothing in YAML"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, part):
    path = tmp_path / "broken.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=part) as error:
        config.load(path)
    assert "broken.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("results/digit_treehem2.json", "unknown data set 'digit'; did you mean 'digits'?"),
        ("results/digits_treehem.json", "unknown variant 'treehem'; did you mean"),
        ("results/digits.json", "names no variant"),
        ("results/runs/digits_nothing/rmse.json", "unknown variant 'nothing'"),
        ("results/mixtures/digits_kmeans17.safetensors", "unknown fit 'kmeans17'"),
        ("results/points/digit.safetensors", "unknown data set 'digit'"),
        ("results/tables/mnist2.md", "unknown table 'mnist2'; did you mean 'mnist'?"),
        ("results/figures/figure4.png", "is no figure: they are called .*, and figure2, figure3"),
    ],
)
def test_unknown_names_in_targets(target, part):
    with pytest.raises(InputError, match=part.replace("?", r"\?")) as error:
        config.check_target(REAL, target)
    assert "known: " in str(error.value) or "called" in str(error.value)


def test_of_many_known_names_the_closest_are_shown():
    sentence = str(unknown("variant", "small7", [f"large{number}" for number in range(20)] + ["small"]))
    assert sentence.startswith("unknown variant 'small7'; did you mean 'small'? (known: ")
    assert sentence.endswith(" and 9 more)")


@pytest.mark.parametrize(
    "target", ["results/digits_treehem2.json", "all", "-n", "--report", "results/report.zip", "results", "2"]
)
def test_known_targets_and_other_arguments_pass(target):
    config.check_target(REAL, target)
