"""Results are read back, also those of the format before this one."""

from __future__ import annotations

import pytest

import gmcn
from gmcn.artifacts import read_json, write_json
from gmcn.errors import InputError
from gmcn.results import summarise
from gmcn.results.metrics import column
from gmcn.results.reading import FORMAT, read_result
from tests.results.test_summary import arguments


@pytest.fixture
def both(variant) -> tuple[dict, dict]:
    """A result, and as it was written before results had a format."""
    summarise(**arguments(variant))
    new = read_json(variant.results / "toy_small.json")
    kept = {
        "dataset",
        "variant",
        "fit",
        "parameters",
        "kernel_parameters",
        "shapes",
        "input_fit",
        "seconds",
        "training",
    }
    old = {key: new[key] for key in kept | {"models", "settings", "runs", "provenance"}}
    old |= {name: new["metrics"][name] for name in ("accuracy", "loss")}
    old |= new["details"] | new["measures"]
    old["history"] = {
        seed: {"validation_accuracy": history["validation_accuracy"]} for seed, history in new["history"].items()
    }
    old["validation_accuracy"] = {seed: entry["accuracy"] for seed, entry in new["validation"].items()}
    old["files"] = {("mixtures" if role == "input" else role): file for role, file in new["files"].items()}
    return new, old


def test_a_result_without_a_format_says_the_same(variant, both):
    new, old = both
    path = variant.results / "toy_small.json"
    write_json(path, old)
    read = read_result(path)
    for key in ("format", "task", "headline", "larger_is_better", "files", "models", "settings"):
        assert read[key] == new[key], key
    assert read["details"] == {name: found for name, found in new["details"].items() if name != "voted"}
    assert read["measures"] == new["measures"]
    assert read["input"] == new["input"]
    assert read["metrics"] == {name: new["metrics"][name] for name in ("accuracy", "loss")}
    for name in ("accuracy", "loss", "validation2", "rmse1-all", "kernels", "parameters", "gib", "minutes"):
        assert column(name).read(read) == column(name).read(new), name
    assert gmcn.load(path, seed=1).config == gmcn.load(variant.runs, seed=1).config


def test_a_result_of_a_later_format_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"format": FORMAT + 1})
    with pytest.raises(
        InputError, match=r"a\.json has format 3, which this version of gmcn does not know; update gmcn"
    ):
        read_result(tmp_path / "a.json")
    write_json(tmp_path / "b.json", [1])
    with pytest.raises(InputError, match=r"b\.json is no result"):
        read_result(tmp_path / "b.json")
