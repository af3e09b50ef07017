"""Whole networks under torch.func: gradients of each sample, scores of points; what there is not is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from gmcn.models import PointNet, PointNet2

from ..nn.workload import random_mixture
from .test_gmcn import evaluated
from .test_point_networks import evaluated as evaluated_points

OPTIONS = {
    "paper": {},
    "fitted": {"convolve_fit": 2},
    "nodes": {"fit_at": 2, "fit_at_last": 16, "fit_at_least": 4},
    "em": {"reduction": "em", "em_refine": 1},
    "size": {"size": 0.5},
    "authors": {"reduction_count": "authors", "norm": "instance"},
}
every_network = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
LABELS = torch.tensor([0, 3, 4])


@every_network
def test_gradients_of_each_sample(options):
    """Of the parameters, as differential privacy and influence functions take them, and of the input."""
    model, mixtures = evaluated(**options), random_mixture(3, 12)
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def loss(parameters, mixture, label):
        logits = torch.func.functional_call(model, parameters, (mixture.map(lambda tensor: tensor[None]),))
        return cross_entropy(logits, label[None])

    found = torch.vmap(torch.func.grad(loss, (0, 1)), (None, 0, 0))(parameters, mixtures, LABELS)
    for sample in range(3):
        leaves = mixtures.map(lambda tensor, sample=sample: tensor[sample : sample + 1].clone().requires_grad_())
        model.zero_grad()
        cross_entropy(model(leaves), LABELS[sample : sample + 1]).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[0][name][sample], parameter.grad, rtol=1e-9, atol=1e-12)
        for one, leaf in zip(found[1], leaves, strict=True):
            torch.testing.assert_close(one[sample], leaf.grad[0], rtol=1e-9, atol=1e-12)


@every_network
def test_forward_mode_and_second_derivatives_are_refused(options):
    model, mixture = evaluated(**options), random_mixture(3, 12)

    def logits(positions):
        return model(mixture._replace(positions=positions))

    with pytest.raises(NotImplementedError, match=r"gmcn\.ops\.\w+ has no derivative in forward mode"):
        torch.func.jvp(logits, (mixture.positions,), (mixture.positions,))
    with pytest.raises(NotImplementedError, match=r"gmcn\.ops\.\w+ has no second derivative"):
        torch.autograd.functional.vhp(lambda x: logits(x).square().sum(), mixture.positions, mixture.positions)


@pytest.mark.parametrize("network", [PointNet, PointNet2])
def test_point_networks(network):
    """Plain torch, which has no forward mode for what they take, and says so."""
    model, mixture = evaluated_points(network), random_mixture(3, 12)

    def loss(positions):
        return cross_entropy(model(mixture._replace(positions=positions)), LABELS)

    leaf = mixture.positions.clone().requires_grad_()
    wanted = torch.autograd.grad(loss(leaf), leaf)[0]
    assert torch.equal(torch.func.grad(loss)(mixture.positions), wanted)
    with pytest.raises(NotImplementedError, match="forward AD"):
        torch.func.jvp(loss, (mixture.positions,), (mixture.positions,))


@pytest.mark.parametrize("network", [PointNet, PointNet2])
def test_no_shapes_have_no_logits(network):
    assert evaluated_points(network)(random_mixture(0, 12)).shape == (0, 5)


def test_autocast_leaves_kernels_and_their_decay_alone():
    model, mixture = evaluated().float(), random_mixture(3, 12, dtype=torch.float32)
    wanted = model(mixture), model.kernel_decay_loss()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(mixture), model.kernel_decay_loss()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
