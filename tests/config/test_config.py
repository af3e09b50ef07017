"""The configuration as it is read: mistakes are explained, text is understood, names are names."""

from __future__ import annotations

import copy
import os

import pytest
import yaml

from gmcn import config
from gmcn.errors import InputError
from tests.config.examples import SMALL, changed, sentence


def test_tasks_are_those_of_the_library():
    said = copy.deepcopy(SMALL)
    said["variants"]["child"]["task"] = "classification2"
    with pytest.raises(
        InputError, match=r"unknown task 'classification2'; did you mean 'classification'.*variants\.child"
    ):
        config.check(said)


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
            [
                "unknown key 'variants.child.network.layers'",
                "(known here: dropout, features, head, kind, regularization)",
            ],
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
        ("datasets.new", {"kind": "images"}, ["'datasets.new' needs exactly one of 'files' and 'path'"]),
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
        ("every_variant", {"network": {"radii": [0.1, 0.2]}}, ["unknown key 'variants.base.network.radii'"]),
        ("variants.child.seeds", [0, 1.0], ["'variants.child.seeds.1' is 1.0, but must be a whole number"]),
        ("variants.child.seeds", [2**32], ["'variants.child.seeds.0' is 4294967296, but must be at most 4294967295"]),
        ("fits.kmeans8.components", 8.0, ["'fits.kmeans8.components' is 8.0, but must be a whole number"]),
        ("targets", ["digits_fast"], ["unknown variant 'fast'"]),
        ("queue", ["digits_fast"], ["unknown variant 'fast'"]),
        ("fits", {}, ["'fits' is {}, but must have at least 1 items"]),
        ("results", "", ["'results' is '', but must not be empty"]),
        ("results", "mine/{x}", ["'results' is 'mine/{x}' in", "must have no braces"]),
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


@pytest.mark.parametrize(
    ("said", "meant"), [("results/", "results"), ("./a//b", "a/b"), ("~/r", os.path.expanduser("~/r"))]
)
def test_the_folder_of_results_is_one_folder_however_it_is_written(said, meant):
    assert config.check(changed("results", said))["results"] == meant


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
