"""Trainings in closed steps: a density fitted by EM leaves the files of any training; and classes that are left out."""

from __future__ import annotations

import csv
import json
import os
import signal

import pytest
import torch

import gmcn
from gmcn.artifacts import load_tensors, read_metadata, save_tensors
from gmcn.data import sample
from gmcn.data.objects import TRAIN, of_classes, read_split
from gmcn.errors import InputError
from gmcn.models.gmm import GMM
from gmcn.tasks.density.objective import Objective
from gmcn.training import NonFiniteError, resumable, train
from gmcn.training.settings import TrainingSettings
from tests.training.conftest import Recorder

NETWORK = {"kind": "gmm", "components": 5, "largest": 16}
OPTIONS = {"device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """scikit-learn's digits as they are sampled."""
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=path)
    return path


def given(network=None, **training):
    """The settings of a density's training."""
    training = {"optimizer": "em", "epochs": 4, "validation_fraction": 0.2, **training}
    return {"task": "density", "network": {**NETWORK, **(network or {})}, "training": training}


def history(folder) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_fit_leaves_the_files_of_a_training(digits, tmp_path):
    run = Recorder()
    settings = given(classes=[0, "1", 2])
    result = train(digits, settings=settings, seed=3, output=tmp_path, run=run, **OPTIONS)
    assert result == json.loads((tmp_path / "training.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "training.json", "model.safetensors"}
    assert {path.name for path in run.artifacts} == {"history.csv", "training.json", "model.safetensors"}
    rows = history(tmp_path)
    assert [(row["epoch"], row["step"], row["learning_rate"]) for row in rows] == [(str(n), str(n), "") for n in "1234"]
    losses = [float(row["train_loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert len({row["validation_class_loss"] for row in rows}) == 4
    assert (result["epochs"], result["steps"], result["resumed"]) == (4, 4, 0)
    assert result["peak_memory"]["bytes"] > 1e7
    assert result["components"].keys() == {"empty", "dying", "identical", "floored"}
    assert [step for step, metrics in run.metrics if "train/loss" in metrics] == [1, 2, 3, 4]
    assert any("epoch/validation_loss" in metrics for _, metrics in run.metrics)

    data, network = of_classes(read_split(digits, TRAIN), [0, 1, 2]), gmcn.load(tmp_path)
    assert sum(result["shapes"].values()) == len(data)
    validated = {name: index for index, name in enumerate(data.names)}
    judged = data.inputs[[validated[name] for name in result["validation"]["names"]]]
    with torch.no_grad():
        expected = -network(judged).double()
    torch.testing.assert_close(torch.tensor(result["validation"]["loss"], dtype=torch.float64), expected)
    assert float(rows[-1]["validation_loss"]) == pytest.approx(expected.mean().item())
    metadata = read_metadata(tmp_path / "model.safetensors")
    assert metadata["settings"]["training"]["classes"] == [0, "1", 2]
    assert len(metadata["trained"]["quantiles"]) == 101


def test_a_seed_decides_a_fit_and_other_classes_do_not(digits, tmp_path):
    tensors, metadata = load_tensors(digits)
    left_out = (tensors["labels"] > 2) | (tensors["split"] == 1)
    tensors["images"][left_out] = 255 - tensors["images"][left_out]
    other = tmp_path / "other.safetensors"
    save_tensors(other, tensors, metadata)
    networks = []
    for place, (path, seed) in enumerate([(digits, 0), (other, 0), (digits, 1)]):
        train(path, settings=given(classes=[0, 1, 2]), seed=seed, output=tmp_path / str(place), **OPTIONS)
        networks.append(load_tensors(tmp_path / str(place) / "model.safetensors")[0])
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert not torch.equal(networks[0]["means"], networks[2]["means"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_leaves_the_folder_as_it_was(digits, tmp_path, number):
    train(digits, settings=given(epochs=2), seed=0, output=tmp_path, **OPTIONS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = Recorder(at={2: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stop:
        train(digits, settings=given(epochs=9), seed=0, output=tmp_path, run=run, **OPTIONS)
    assert number == signal.SIGINT or stop.value.code == 128 + number
    assert max(step for step, _ in run.metrics) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_signal_stops_a_fit_before_its_first_iteration_ends(digits, tmp_path, monkeypatch):
    """A deep mixture says nothing before its last mixture."""

    def fit_(self, inputs, iterations, seed, progress):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    monkeypatch.setattr(GMM, "fit_", fit_)
    with pytest.raises(SystemExit) as stop:
        train(digits, settings=given(), seed=0, output=tmp_path, **OPTIONS)
    assert stop.value.code == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_validation_that_is_not_finite_stops_a_fit_in_its_own_words(digits, tmp_path, monkeypatch):
    def measure(self, network, inputs, labels):
        return {"loss": torch.full((len(inputs),), torch.inf)}

    monkeypatch.setattr(Objective, "measure", measure)
    with pytest.raises(NonFiniteError, match="the fit stopped at iteration 1: the validation loss is not finite; not"):
        train(digits, settings=given(), seed=0, output=tmp_path, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_by_gradients_it_starts_from_clusters_and_resumes_exactly(digits, tmp_path):
    settings = given(
        optimizer="adam", epochs=2, batch_size=100, warmup_epochs=0, snapshots=[0], checkpoint_minutes=1e-9
    )
    result = train(digits, settings=settings, seed=0, output=tmp_path / "whole", **OPTIONS)
    first = [tmp_path / name / "snapshots/epoch0.safetensors" for name in ("whole", "stopped")]
    data = read_split(digits, TRAIN)
    with torch.no_grad():
        assert -gmcn.load(first[0])(data.inputs).mean().item() < result["metrics"]["train_loss"] + 10
    run = Recorder(at={5: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    with pytest.raises(SystemExit):
        train(digits, settings=settings, seed=0, output=tmp_path / "stopped", run=run, **OPTIONS)
    assert resumable(digits, settings=settings, seed=0, output=tmp_path / "stopped")
    train(digits, settings=settings, seed=0, output=tmp_path / "stopped", **OPTIONS)
    for name in ("snapshots/epoch0.safetensors", "model.safetensors"):
        whole, stopped = (load_tensors(tmp_path / folder / name)[0] for folder in ("whole", "stopped"))
        assert all(torch.equal(whole[key], stopped[key]) for key in whole), name
    train(digits, settings=given(), seed=0, output=tmp_path / "whole", **OPTIONS)
    assert not (tmp_path / "whole/last.ckpt").exists(), "it would belong to another training"


def test_the_folds_of_some_classes(digits, tmp_path):
    settings = given(classes=[0, 1], fold="1 of 2", validation_fraction=0)
    result = train(digits, settings=settings, seed=0, output=tmp_path, points=digits, **OPTIONS)
    assert sum(result["shapes"].values()) == len(of_classes(read_split(digits, TRAIN), [0, 1]))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (given(classes=["10"]), r"training.classes: unknown class '10'; did you mean '1'\? \(known: 0, 1"),
        (given(classes=[10]), "training.classes: unknown class '10'"),
        (given(classes=[0, 0]), "'classes' is .*, but must have every item once"),
        (given(classes=[]), "'classes' is .*, but must have at least 1 items"),
        (given(devices=2), "training: the 'optimizer' em has no 'devices'; leave it out"),
        (given(snapshots=[1]), "training: the 'optimizer' em has no 'snapshots'"),
        (given({"components": 2000}), "2000 components"),
        ({**given(), "task": "classification"}, "GMM is for the task density, not classification; set `task`"),
        ({"network": {"kind": "mlp"}, "training": {"classes": [1]}}, "leaves classes out, which this task has to know"),
        ({"network": {"kind": "mlp"}, "training": {"optimizer": "em"}}, "MLP is not fitted by em"),
        ({"task": "density", "network": {"kind": "mlp"}}, "the task density needs the log-density of each"),
    ],
)
def test_what_cannot_be_is_one_sentence(digits, tmp_path, settings, part):
    with pytest.raises(InputError, match=part) as error:
        train(digits, settings=settings, seed=0, output=tmp_path, **OPTIONS)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.safetensors").exists()


def test_classes_without_labels_are_refused(digits, tmp_path):
    tensors, metadata = load_tensors(digits)
    del tensors["labels"], metadata["class_names"]
    save_tensors(tmp_path / "unlabelled.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"training.classes: unknown class '0' \(known: none\)"):
        train(tmp_path / "unlabelled.safetensors", settings=given(classes=[0]), seed=0, output=tmp_path, **OPTIONS)
    train(tmp_path / "unlabelled.safetensors", settings=given(), seed=0, output=tmp_path, **OPTIONS)


def test_settings_say_classes_as_they_were_given():
    assert TrainingSettings.read({"classes": ("a", 2)}).as_dict()["classes"] == ["a", 2]
    assert TrainingSettings.read({}).as_dict()["classes"] is None
