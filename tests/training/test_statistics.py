"""Trainings that end with batch statistics of all objects."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gmcn.artifacts import load_tensors, read_json
from gmcn.data.objects import TRAIN, read_split, select
from gmcn.models.loading import load
from gmcn.nn import MixtureNorm
from gmcn.nn.norm import averaged_statistics
from gmcn.training import train
from tests.training.test_train import read_history

AUGMENTED = {"scaling": [0.5, 2.0]}


def mixed(seed: int) -> torch.Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) * (1 + seed)


def test_torch_averages_its_own_norms_in_the_same_way():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model(mixed(5))
    other, batches = copy.deepcopy(model), [mixed(seed) for seed in range(3)]
    torch.optim.swa_utils.update_bn(batches, other)
    with torch.no_grad(), averaged_statistics(model):
        for batch in batches:
            model(batch)
    for one, same in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, same)
    assert not model.training
    assert model[1].momentum == other[1].momentum == 0.1


@pytest.mark.parametrize("mode", ["batch", "running", "instance"])
def test_the_variance_of_mixtures_is_averaged(mixtures, mode):
    data = read_split(mixtures, TRAIN)
    norm = MixtureNorm(1, mode=mode)
    parts = [select(data.inputs, part).map(lambda tensor: tensor[:, None]) for part in torch.arange(15).split(5)]
    norm(parts[2])
    with torch.no_grad(), averaged_statistics(norm):
        for part in parts:
            norm(part)
    if mode != "instance":  # which has none
        each = [part.covariances.diagonal(dim1=-2, dim2=-1).mean(-1).mean() for part in parts]
        torch.testing.assert_close(norm.variance, torch.stack(each).mean()[None])
        assert norm.batches == 3
        assert norm.momentum == 0.1


def test_what_is_kept_normalises_by_objects_as_they_are(mixtures, settings, tmp_path):
    """The training itself is the same, and what it says of the validation is what the kept network does there."""
    settings["training"] |= {"augmentation": AUGMENTED, "batch_size": 40}
    arguments = {"seed": 0, "device": "cpu", "threads": 1}
    train(mixtures, settings=settings, output=tmp_path / "running", **arguments)
    settings["training"] |= {"batch_statistics": "all"}
    result = train(mixtures, settings=settings, output=tmp_path / "all", **arguments)
    kept, running = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("all", "running"))
    statistics = {name for name, _ in load(tmp_path / "all" / "model.safetensors").named_buffers()}
    assert all(torch.equal(kept[name], running[name]) for name in kept if name not in statistics)

    data = read_split(mixtures, TRAIN)
    validation = torch.tensor([name in result["validation"]["names"] for name in data.names])
    trained, judged = (select(data.inputs, chosen.nonzero()[:, 0]) for chosen in (~validation, validation))
    network = load(tmp_path / "running" / "model.safetensors")
    with torch.no_grad(), averaged_statistics(network):
        network(trained)
    for name, tensor in network.named_buffers():
        if tensor.is_floating_point():
            torch.testing.assert_close(kept[name], tensor, rtol=1e-4, atol=1e-5)
    assert (kept["output_norm.running_var"] - running["output_norm.running_var"]).abs().max() > 1e-3

    with torch.no_grad():
        logits = load(tmp_path / "all" / "model.safetensors")(judged)
    losses = nn.functional.cross_entropy(logits, data.labels[validation], reduction="none")
    found = dict(zip(result["validation"]["names"], result["validation"]["loss"], strict=True))
    names = [name for name, chosen in zip(data.names, validation.tolist(), strict=True) if chosen]
    torch.testing.assert_close(
        torch.tensor([found[name] for name in names]), losses, rtol=1e-4, atol=1e-5, check_dtype=False
    )
    last = read_history(tmp_path / "all")[-1]
    assert float(last["validation_loss"]) == pytest.approx(losses.mean().item(), rel=1e-4)
    assert read_json(tmp_path / "all" / "training.json")["metrics"]["validation_loss"] == pytest.approx(
        float(last["validation_loss"])
    )
