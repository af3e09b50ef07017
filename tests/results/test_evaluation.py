"""Accuracy and its kin."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix

import gmcn
from gmcn.data.augmentation import Augmentation, augment
from gmcn.data.objects import TEST, ObjectSet, read_split
from gmcn.data.views import Views, view
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import Mixture
from gmcn.results.evaluation import evaluate
from gmcn.results.seeds import over_seeds
from gmcn.tasks.classification.measures import Measures
from gmcn.tasks.classification.measures_of_answers import measure
from gmcn.training import train
from gmcn.training.datamodule import generator_of
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
    logged = {
        f"test/{name}": result["mean"][name] for name in ("accuracy", "class_accuracy", "loss", "calibration_error")
    }
    assert logged in [metrics for _, metrics in variant.recorders["evaluate"].metrics]


def test_objects_without_labels_are_refused(variant):
    data = read_split(variant.mixtures, TEST)
    unlabelled = ObjectSet(data.kind, data.inputs, None, data.names, data.metadata)
    with pytest.raises(InputError, match="have no labels to measure against"):
        Measures().measure(gmcn.load(variant.runs), unlabelled)


@pytest.mark.parametrize("name", ["confusion.png", "mistakes.png"])
def test_pictures_of_what_is_taken_for_what(variant, name):
    assert (variant.runs / name).read_bytes().startswith(b"\x89PNG")
    assert variant.runs / name in variant.recorders["evaluate"].artifacts


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
    sure = 1 / (1 + 2 * math.exp(-9))
    assert result["confidences"] == pytest.approx([sure] * 3)
    assert result["calibration_error"] == pytest.approx(sure - 2 / 3, rel=1e-5)  # all in one bin


def test_answers_of_probability_one_share_the_last_bin():
    labels = torch.cat([torch.zeros(95), torch.ones(5)]).long()
    data = ObjectSet("vectors", torch.zeros(100, 1), labels, ["x"] * 100, {"class_names": ["a", "b"]})
    sure = torch.tensor([[99.0, 0]]).expand(50, 2)  # 45 of which are right
    less = torch.tensor([[0.95, 0.05]]).log().expand(50, 2)
    result = measure(torch.cat([less, sure]), data)
    assert result["calibration_error"] == pytest.approx(0.025, abs=1e-5)


def test_votes_of_a_network_that_is_sure(clouds):
    """Whose other probabilities are zero in float64."""
    data = read_split(clouds[1], TEST)
    sure = torch.nn.functional.one_hot(data.labels, 2) * 2000.0
    found = Measures().voted(lambda inputs: sure[: len(inputs.weights)], data, [data.inputs] * 2)["voted"]
    assert (found["accuracy"], found["loss"]) == (1.0, 0.0)


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


def test_votes_are_mean_probabilities_over_variations_as_in_training(clouds, tmp_path):
    points, mixtures = clouds
    training = {"epochs": 1, "batch_size": 4, "views": {"points": 30}, "augmentation": {"scaling": [0.5, 2]}}
    settings = {"network": {"layers": [[2, 4]], "kernel_components": 3}, "training": training}
    train(mixtures, settings=settings, points=points, seed=0, output=tmp_path, device="cpu", threads=1)
    models = [tmp_path / "model.safetensors"]
    found = evaluate(
        mixtures, models=models, settings={"votes": 3}, points=points, output=tmp_path / "votes.json", device="cpu"
    )
    network, data, sources = gmcn.load(models[0]), read_split(mixtures, TEST), read_split(points, TEST).inputs
    total = torch.zeros(len(data), 2, dtype=torch.float64)
    for vote in range(3):
        generator = generator_of(0, vote, 0)
        seen = view(sources, Views(points=30), generator)
        start = int(torch.randint(1 << 31, (), generator=generator))
        mixture = augment(
            fit_points(seen, 6, seed=start, covariance_floor=1e-3), Augmentation(scaling=(0.5, 2)), generator
        )
        with torch.no_grad():
            total += network(mixture).double().softmax(1)
    voted = found["seeds"]["0"]["voted"]
    assert voted["votes"] == 3
    assert voted["accuracy"] == accuracy_score(data.labels, total.argmax(1))
    assert voted["loss"] == pytest.approx(torch.nn.functional.nll_loss((total / 3).log(), data.labels).item())
    assert found["mean"]["voted"] == voted
    # The object itself is measured as ever.
    plain = evaluate(mixtures, models=models, output=tmp_path / "plain.json", device="cpu")
    assert plain["seeds"]["0"]["predictions"] == found["seeds"]["0"]["predictions"]
    assert plain["mean"]["voted"] is None


def test_votes_need_points_and_classes(variant, tmp_path):
    arguments = {"models": variant.models[:1], "output": tmp_path / "evaluation.json", "device": "cpu"}
    with pytest.raises(InputError, match="name the points of these with --points"):
        evaluate(variant.mixtures, settings={"votes": 2}, **arguments)
    with pytest.raises(InputError, match="this task has no votes"):
        evaluate(variant.mixtures, settings={"votes": 2, "task": "density"}, **arguments)
