"""Muon on the weights of kernels, beside Adam."""

from __future__ import annotations

import copy

import pytest
import torch

from gmcn.errors import InputError
from gmcn.models import GMCN, MLP
from gmcn.optim import MuonAdam
from gmcn.training import TrainingSettings, train
from gmcn.training.optimizers import optimizer_of
from tests.training.conftest import Recorder
from tests.training.test_resume import Halt, crash, same

SETTINGS = {"optimizer": "muon", "learning_rate": 0.01}


@pytest.fixture
def network() -> GMCN:
    return GMCN(layers=((3, 4),), classes=2, dim=2, seed=0)


def descend(network: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_steps_are_those_of_torch(network):
    """Its Muon on matrices of the same numbers, at ten times the rate, and its Adam on the rest."""
    other = copy.deepcopy(network)
    optimizer = optimizer_of(network, TrainingSettings.read(SETTINGS))
    assert [other.relative_rate(group) for group in optimizer.param_groups] == [10.0, 1.0]
    weights = [block.convolution.raw_weights for block in other.blocks]
    matrices = [torch.nn.Parameter(one.detach().clone().flatten(1)) for one in weights]
    rest = [parameter for parameter in other.parameters() if all(parameter is not one for one in weights)]
    parts = (
        torch.optim.Muon(matrices, lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.Adam(rest, lr=0.01),
    )
    descend(network, optimizer, range(3))
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for parameter in other.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for matrix, one in zip(matrices, weights, strict=True):
            matrix.grad = one.grad.flatten(1)
        for part in parts:
            part.step()
    for one, matrix in zip(weights, matrices, strict=True):
        one.data.copy_(matrix.view_as(one))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    before = GMCN(layers=((3, 4),), classes=2, dim=2, seed=0)
    assert (network.blocks[0].convolution.raw_weights != before.blocks[0].convolution.raw_weights).all()


def test_a_state_is_gone_on_with(network):
    other = copy.deepcopy(network)
    optimizer = optimizer_of(network, TrainingSettings.read(SETTINGS))
    descend(network, optimizer, range(2))
    other.load_state_dict(network.state_dict())
    again = optimizer_of(other, TrainingSettings.read(SETTINGS))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, same_one in ((network, optimizer), (other, again)):
        for group in same_one.param_groups:  # what the training sets reaches both parts
            group["lr"] = 0.5
        descend(one, same_one, range(2, 4))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_usual_loop(network):
    """`zero_grad` clears the gradients of kernels as well: steps are those after `model.zero_grad()`."""
    other = copy.deepcopy(network)
    for model, clears in ((network, False), (other, True)):
        optimizer = optimizer_of(model, TrainingSettings.read(SETTINGS))
        for step in range(3):
            (model if clears else optimizer).zero_grad()
            generator = torch.Generator().manual_seed(step)
            sum((torch.randn(p.shape, generator=generator) * p).sum() for p in model.parameters()).backward()
            optimizer.step()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    optimizer.zero_grad(set_to_none=False)
    assert all((parameter.grad == 0).all() for parameter in other.parameters())


def test_kernels_of_other_memory_move():
    """Also where they are not contiguous, or have been replaced since, and where there is nothing else."""
    kernel = torch.nn.Parameter(torch.randn(3, 4, 5).permute(2, 1, 0))
    optimizer = MuonAdam([{"params": [kernel]}], [kernel], lr=0.1)
    for data in (kernel.data, torch.randn(5, 4, 3)):
        kernel.data = data
        before, kernel.grad = kernel.detach().clone(), torch.ones_like(data)
        optimizer.step()
        assert (kernel != before).all()
        kernel.grad = None


def test_a_copy_goes_on_alike(network):
    optimizer = optimizer_of(network, TrainingSettings.read(SETTINGS))
    descend(network, optimizer, range(2))
    other, again = copy.deepcopy((network, optimizer))
    descend(network, optimizer, range(2, 4))
    descend(other, again, range(2, 4))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_loss_is_handed_on(network):
    optimizer = MuonAdam([{"params": list(network.parameters())}], [], lr=0.1)
    assert optimizer.step(lambda: 3.0) == 3.0


def test_networks_without_kernels_are_refused():
    with pytest.raises(InputError, match="the 'optimizer' muon is for kernels of mixtures, and MLP has none"):
        optimizer_of(MLP(shape=[4], classes=2), TrainingSettings.read(SETTINGS))


@pytest.mark.faults
@pytest.mark.parametrize("step", [3, 8])
def test_a_crash_changes_nothing(mixtures, settings, tmp_path, step):
    settings["training"] |= {"optimizer": "muon", "checkpoint_minutes": 1e-9}
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    straight = train(mixtures, output=tmp_path / "straight", **arguments)
    assert straight["metrics"]["train_accuracy"] > 0.9
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({step: crash}), **arguments)
    assert train(mixtures, output=tmp_path / "halted", **arguments)["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")
