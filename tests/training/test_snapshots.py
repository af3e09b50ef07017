"""Networks that are kept on their way."""

from __future__ import annotations

import pytest
import torch

import gmcn
from gmcn.artifacts import load_tensors, read_metadata
from gmcn.errors import InputError
from gmcn.training import train
from gmcn.training.checkpoints import training_key
from gmcn.training.settings import TrainingSettings
from gmcn.training.stage import build_network
from tests.training.conftest import Recorder
from tests.training.test_resume import Halt, crash


def arguments(settings, **more):
    return {"settings": settings, "seed": 0, "device": "cpu", "threads": 1, **more}


def tensors(folder, epoch):
    return load_tensors(folder / f"snapshots/epoch{epoch}.safetensors")[0]


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_a_snapshot_is_the_network_after_its_epoch(mixtures, settings, tmp_path):
    train(mixtures, output=tmp_path / "plain", **arguments(settings))
    settings["training"] |= {"schedule": "constant", "snapshots": [4, 0, 2]}
    train(mixtures, output=tmp_path / "kept", **arguments(settings))
    assert sorted(path.name for path in (tmp_path / "kept/snapshots").iterdir()) == [
        f"epoch{epoch}.safetensors" for epoch in (0, 2, 4)
    ]
    assert not (tmp_path / "plain/snapshots").exists()
    assert equal(tensors(tmp_path / "kept", 4), load_tensors(tmp_path / "kept/model.safetensors")[0])
    short = {**settings, "training": settings["training"] | {"epochs": 2, "snapshots": []}}
    train(mixtures, output=tmp_path / "short", **arguments(short))
    assert equal(tensors(tmp_path / "kept", 2), load_tensors(tmp_path / "short/model.safetensors")[0])
    data = gmcn.data.objects.read_split(mixtures, 0)
    assert equal(tensors(tmp_path / "kept", 0), build_network(settings["network"], data, 0).state_dict())


def test_a_snapshot_is_a_network_for_load(mixtures, settings, tmp_path):
    settings["training"]["snapshots"] = [1]
    train(mixtures, output=tmp_path, **arguments(settings))
    path = tmp_path / "snapshots/epoch1.safetensors"
    assert equal(gmcn.load(path).state_dict(), tensors(tmp_path, 1))
    own, trained = read_metadata(path), read_metadata(tmp_path / "model.safetensors")
    assert own == {**trained, "epoch": 1}


@pytest.mark.parametrize("step", [3, 6])
def test_a_resumed_training_has_the_same_snapshots(mixtures, settings, tmp_path, step):
    settings["training"] |= {"snapshots": [0, 1, 3], "checkpoint_minutes": 1e-9}
    train(mixtures, output=tmp_path / "straight", **arguments(settings))
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({step: crash}), **arguments(settings))
    before = tmp_path / "halted/snapshots/epoch0.safetensors"
    before.unlink()  # as where only the checkpoint has been brought along
    result = train(mixtures, output=tmp_path / "halted", **arguments(settings))
    assert result["resumed"] == 1
    for epoch in (0, 1, 3):
        assert equal(tensors(tmp_path / "straight", epoch), tensors(tmp_path / "halted", epoch)), epoch


def test_snapshots_of_another_training_are_deleted(mixtures, settings, tmp_path):
    settings["training"]["snapshots"] = [0, 1, 3]
    train(mixtures, output=tmp_path, **arguments(settings))
    settings["training"]["snapshots"] = [1]
    train(mixtures, output=tmp_path, **arguments(settings))
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["epoch1.safetensors"]


def test_without_snapshots_the_key_is_that_of_older_trainings(mixtures, settings):
    plain = training_key(mixtures, settings, 0)
    for snapshots, same in (([], True), ([1], False)):
        training = settings["training"] | {"snapshots": snapshots}
        assert (training_key(mixtures, {**settings, "training": training}, 0) == plain) == same


def test_an_epoch_that_never_comes_is_one_sentence():
    with pytest.raises(InputError, match="'snapshots' has 9, but must be at most the 5 'epochs'"):
        TrainingSettings.read({"epochs": 5, "snapshots": [0, 9]})
    with pytest.raises(InputError, match="snapshots"):
        TrainingSettings.read({"epochs": 5, "snapshots": [0, 0]})
