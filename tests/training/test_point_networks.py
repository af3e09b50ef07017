"""Point networks in the same training: penalty, no kernel decay, resume, files that load again."""

from __future__ import annotations

import pytest
import torch

import gmcn
from gmcn.artifacts import read_metadata, save_tensors
from gmcn.data.objects import TRAIN, read_split
from gmcn.errors import InputError
from gmcn.models import NETWORKS
from gmcn.training import TrainingSettings, train
from gmcn.training.checkpoints import training_key
from gmcn.training.stage import build_network
from gmcn.training.step import TrainingStep
from tests.training.conftest import Recorder
from tests.training.test_resume import Halt, crash, same

KINDS = pytest.mark.parametrize("kind", ["pointnet", "pointnet2"])


def settings_of(settings, kind, **training):
    changed = {"epochs": 2, "learning_rate": 1e-3, **training}
    return {"network": {"kind": kind, "features": "gaussians"}, "training": settings["training"] | changed}


@KINDS
def test_a_crash_changes_nothing(mixtures, settings, tmp_path, kind):
    """Dropout goes on with the random numbers of the checkpoint."""
    arguments = {"seed": 0, "device": "cpu", "threads": 1}
    arguments["settings"] = settings_of(settings, kind, checkpoint_minutes=1e-9)
    train(mixtures, output=tmp_path / "straight", **arguments)
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({6: crash}), **arguments)
    result = train(mixtures, output=tmp_path / "halted", **arguments)
    assert result["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")
    assert "kernel_parameters" not in result
    model = gmcn.load(tmp_path / "halted")
    assert isinstance(model, NETWORKS[kind])
    assert result["parameters"] == sum(p.numel() for p in model.parameters())
    network = read_metadata(tmp_path / "halted" / "model.safetensors")["network"]
    assert (network["kind"], network["features"], network["classes"], network["dim"]) == (kind, "gaussians", 2, 2)


def test_the_penalty_is_part_of_the_loss(mixtures):
    data = read_split(mixtures, TRAIN)
    batch = (data.inputs, data.labels)
    losses = {}
    for factor in (0.0, 2.0):
        model = build_network({"kind": "pointnet", "dropout": 0.0, "regularization": factor}, data, seed=0)
        with torch.no_grad():
            model.feature_transform.matrix.bias += 0.01
        module = TrainingStep(model, TrainingSettings(), 4)
        losses[factor] = module.loss_of(*batch)[0].item()
        penalty = model.outputs_and_penalty(data.inputs)[1].item()
        module.validation_step(batch, 0)
    assert penalty > 0.1
    assert losses[2.0] == pytest.approx(losses[0.0] + penalty)
    # Not of the validation loss, which networks are compared by.
    expected = torch.nn.functional.cross_entropy(model(data.inputs), data.labels, reduction="sum").item()
    module.on_validation_epoch_end()
    assert module.validation["loss"].sum().item() == pytest.approx(expected)
    assert torch.equal(module.validation["labels"], data.labels)


def test_the_default_kind_is_the_same_training_whether_it_is_said_or_not(mixtures, settings):
    keys = [
        training_key(mixtures, {**settings, "network": {**settings["network"], **kind}}, 0)
        for kind in ({}, {"kind": "gmcn"}, {"kind": "pointnet"})
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_model_of_an_unknown_kind_is_named(mixtures, settings, tmp_path):
    path = tmp_path / "model.safetensors"
    save_tensors(path, {}, {"network": {"kind": "transformer"}})
    with pytest.raises(InputError, match=r"model\.safetensors: unknown kind of network 'transformer'"):
        gmcn.load(path)
    bad = {"network": {"kind": "pointnet2", "layers": []}, "training": settings["training"]}
    with pytest.raises(InputError, match="unknown key 'layers'"):
        train(mixtures, settings=bad, seed=0, output=tmp_path / "out", device="cpu")
