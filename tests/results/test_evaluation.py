"""Accuracy and its kin."""

from __future__ import annotations

import importlib.util
import json
import statistics

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

import gmcn
from gmcn.data.objects import TEST, ObjectSet, read_split
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.results.evaluation import evaluate
from gmcn.results.seeds import over_seeds
from gmcn.tasks.classification.measures import measure
from tests.training.conftest import make_mixtures


def test_numbers_agree_with_scikit_learn_and_the_network(variant):
    result = json.loads((variant.runs / "evaluation.json").read_text())
    data = read_split(variant.mixtures, TEST)
    assert result["labels"] == data.labels.tolist()
    assert result["names"] == data.names
    for seed, entry in result["seeds"].items():
        with torch.no_grad():
            logits = gmcn.load(variant.runs, seed=int(seed))(data.inputs)
        assert entry["predictions"] == logits.argmax(1).tolist()
        assert entry["accuracy"] == accuracy_score(data.labels, entry["predictions"])
        assert entry["confusion"] == confusion_matrix(data.labels, entry["predictions"]).tolist()
        loss = torch.nn.functional.cross_entropy(logits, data.labels).item()
        assert entry["loss"] == pytest.approx(loss, rel=1e-4)


def test_mean_and_deviation_over_the_seeds(variant):
    result = json.loads((variant.runs / "evaluation.json").read_text())
    accuracies = [entry["accuracy"] for entry in result["seeds"].values()]
    assert result["mean"]["accuracy"] == pytest.approx(statistics.fmean(accuracies))
    assert result["std"]["accuracy"] == pytest.approx(statistics.stdev(accuracies))
    logged = {f"test/{name}": result["mean"][name] for name in ("accuracy", "class_accuracy", "loss")}
    assert logged in [metrics for _, metrics in variant.recorders["evaluate"].metrics]


def test_picture_of_the_confusion_matrix(variant):
    assert (variant.runs / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert variant.runs / "confusion.png" in variant.recorders["evaluate"].artifacts


def test_without_matplotlib_there_is_no_picture_but_all_numbers(variant, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    caplog.set_level("INFO", logger="gmcn")
    output = tmp_path / "evaluation.json"
    result = evaluate(variant.mixtures, models=variant.models[:1], output=output, device="cpu")
    assert json.loads(output.read_text())["mean"] == result["mean"]
    assert not output.with_name("confusion.png").exists()
    assert "no pictures of the measurements: matplotlib is not installed" in caplog.text


def test_one_seed_has_no_deviation(variant, tmp_path):
    result = evaluate(variant.mixtures, models=variant.models[:1], output=tmp_path / "evaluation.json", device="cpu")
    assert result["std"]["accuracy"] is None
    assert result["mean"]["accuracy"] == result["seeds"]["0"]["accuracy"]


def test_a_class_without_test_shapes_has_no_accuracy():
    labels = torch.tensor([0, 0, 2])
    data = ObjectSet("mixtures", Mixture(*torch.zeros(3, 3)), labels, ["x", "y", "z"], {"class_names": ["a", "b", "c"]})
    result = measure(torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]]), data)
    assert result["per_class"] == {"a": 0.5, "b": None, "c": 1.0}
    assert (result["accuracy"], result["class_accuracy"]) == (2 / 3, 0.75)
    assert result["confusion"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_over_seeds():
    mean, deviation = over_seeds([{"a": [1.0, None], "b": "x"}, {"a": [3.0, 2.0], "b": "x"}])
    assert mean == {"a": [2.0, None], "b": "x"}
    assert deviation["a"][0] == pytest.approx(2**0.5)
    assert deviation["a"][1] is None


def test_networks_of_other_data_are_refused(variant, tmp_path):
    other = make_mixtures(tmp_path / "other.safetensors", classes=2)
    with pytest.raises(
        InputError, match=r"is a network for mixtures \(3 classes, dim 2\), but these are mixtures \(2 classes, dim 2\)"
    ):
        evaluate(other, models=variant.models, output=tmp_path / "evaluation.json", device="cpu")
    with pytest.raises(InputError, match="several networks of one seed"):
        evaluate(variant.mixtures, models=variant.models[:1] * 2, output=tmp_path / "e.json", device="cpu")
    with pytest.raises(InputError, match="no trained network was given"):
        evaluate(variant.mixtures, models=[], output=tmp_path / "e.json", device="cpu")
