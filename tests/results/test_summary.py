"""The one JSON of a result."""

from __future__ import annotations

import json

import pytest
import torch

import gmcn
from gmcn.artifacts import read_json, sha256, write_json
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.results import summarise
from tests.training.conftest import Recorder, make_mixtures


class ResultRecorder(Recorder):
    """A tracking run that also takes the headline numbers of a result."""

    id = "summarise-run"

    def log_result(self, metrics, params, runs, artifacts, inputs, larger_is_better):
        self.result = {"metrics": metrics, "params": params, "runs": runs, "artifacts": artifacts, "inputs": inputs}
        self.result["larger_is_better"] = larger_is_better


def arguments(variant, **changes) -> dict:
    return {
        "dataset": "toy",
        "variant": "small",
        "settings": variant.settings,
        "points": variant.points,
        "artifact": variant.mixtures,
        "training": variant.training[::-1],  # in any order
        "evaluation": variant.runs / "evaluation.json",
        "measures": {"rmse": variant.runs / "rmse.json", "footprint": variant.runs / "footprint.json"},
        "output": variant.results / "toy_small.json",
        **changes,
    }


@pytest.fixture
def summary(variant):
    run = ResultRecorder()
    summarise(**arguments(variant), run=run)
    return json.loads((variant.results / "toy_small.json").read_text()), run


def test_numbers_are_those_of_the_artifacts(variant, summary):
    result, run = summary
    evaluation = read_json(variant.runs / "evaluation.json")
    rmse, footprint = read_json(variant.runs / "rmse.json"), read_json(variant.runs / "footprint.json")
    assert (result["format"], result["task"], result["headline"]) == (2, "classification", "accuracy")
    assert result["metrics"]["accuracy"] == {
        "mean": evaluation["mean"]["accuracy"],
        "std": evaluation["std"]["accuracy"],
        "seeds": {seed: entry["accuracy"] for seed, entry in evaluation["seeds"].items()},
    }
    assert result["measures"]["rmse"]["layers"] == rmse["mean"]["layers"]
    assert result["measures"]["footprint"]["ratio"] == footprint["ratio"]
    trainings = [read_json(path) for path in variant.training]
    seconds = result["seconds"]["training"]
    assert seconds["mean"] == pytest.approx(sum(entry["seconds"] for entry in trainings) / 2)
    assert result["parameters"] == sum(p.numel() for p in gmcn.load(variant.runs).parameters())
    assert result["parameters"] > result["kernel_parameters"] == 7 * 3 * (1 * 2 + 2 * 3)
    epochs = {len(history["validation_accuracy"]) for history in result["history"].values()}
    assert epochs == {entry["epochs"] for entry in trainings}
    assert result["settings"] == variant.settings
    assert run.result["metrics"] == {
        "accuracy": result["metrics"]["accuracy"]["mean"],
        "accuracy_std": result["metrics"]["accuracy"]["std"],
        "class_accuracy": result["metrics"]["class_accuracy"]["mean"],
        "calibration_error": result["metrics"]["calibration_error"]["mean"],
        "loss": result["metrics"]["loss"]["mean"],
        "parameters": result["parameters"],
        "memory_mib": result["measures"]["footprint"]["measured"]["bytes"] / 2**20,
        "training_seconds": seconds["mean"],
    }
    assert run.result["params"] == {"data": {}, "input_fit": {"components": 8}, **variant.settings}
    assert run.result["runs"] == [
        "train-run",
        "train-run",
        "evaluate-run",
        "probe-run",
        "footprint-run",
        "summarise-run",
    ]
    assert run.result["inputs"] == [("points", variant.points), ("mixtures", variant.mixtures)]


def test_any_measurement_is_part_of_the_result(variant, tmp_path):
    origin = {key: read_json(variant.runs / "footprint.json")[key] for key in ("inputs", "run_id", "provenance")}
    write_json(tmp_path / "sizes.json", {**origin, "dataset": "toy", "fit": "kmeans8", "largest": {"0": 2.5, "1": 3.0}})
    measures = {"footprint": variant.runs / "footprint.json", "sizes": tmp_path / "sizes.json"}
    result = summarise(
        **arguments(variant, measures=measures, output=tmp_path / "toy_small.json"), run=ResultRecorder()
    )
    assert result["measures"]["sizes"] == {"largest": {"0": 2.5, "1": 3.0}}
    assert result["runs"]["sizes"] == origin["run_id"]


def test_runs_hashes_and_provenance_are_complete(variant, summary):
    result, _ = summary
    assert result["runs"] == {
        "sample": "sample-run",
        "fit": "fit-run",
        "train": {"0": "train-run", "1": "train-run"},
        "evaluate": "evaluate-run",
        "probe": "probe-run",
        "footprint": "footprint-run",
        "summarise": "summarise-run",
    }
    entries = [*result["files"].values(), *result["models"].values()]
    assert len(entries) == 5 + 2
    for entry in entries:
        assert sha256(variant.results / entry["path"]) == entry["sha256"]
    assert result["provenance"]["sample"] == {"commit": "abc"}
    for stage in ("evaluate", "probe", "footprint", "summarise"):
        assert {"commit", "versions", "cpu", "time"} <= result["provenance"][stage].keys()


def test_the_network_is_found_from_the_result(variant, summary):
    data = read_split(variant.mixtures, TEST)
    predictions = read_json(variant.runs / "evaluation.json")["seeds"]["1"]["predictions"]
    with torch.no_grad():
        assert gmcn.load(variant.results / "toy_small.json", seed=1)(data.inputs).argmax(1).tolist() == predictions


def test_learning_curves(variant, summary):
    assert (variant.runs / "curves.png").read_bytes().startswith(b"\x89PNG")
    pictures = [variant.runs / name for name in ("confusion.png", "curves.png", "mistakes.png")]
    assert sorted(summary[1].result["artifacts"]) == pictures


def test_artifacts_of_different_origin_are_refused(variant, tmp_path):
    other = make_mixtures(tmp_path / "other.safetensors", classes=3, seed=9)
    with pytest.raises(InputError, match="was made from other objects"):
        summarise(**arguments(variant, artifact=other, output=tmp_path / "toy_small.json"))
    with pytest.raises(InputError, match=r"evaluation\.json is of other networks \(seeds 0, 1\).*\(seeds 0\)"):
        summarise(**arguments(variant, training=variant.training[:1], output=tmp_path / "toy_small.json"))
    changed = read_json(variant.runs / "rmse.json")
    changed["seeds"]["0"]["model"]["sha256"] = "0"
    write_json(tmp_path / "rmse.json", changed)
    with pytest.raises(InputError, match=r"rmse\.json is of other networks"):
        summarise(**arguments(variant, measures={"rmse": tmp_path / "rmse.json"}, output=tmp_path / "toy_small.json"))
    assert not (tmp_path / "toy_small.json").exists()


def test_a_missing_artifact_is_named(variant, tmp_path):
    with pytest.raises(InputError, match=r"nowhere/footprint\.json does not exist"):
        summarise(**arguments(variant, measures={"footprint": tmp_path / "nowhere" / "footprint.json"}))
