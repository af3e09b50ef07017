"""The flow: its step is the exponential map, rates follow weights, states resume, and it refuses what cannot be."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD, flow_groups
from gmcn.optim.wasserstein import floored


def layer_of(covariance: str = "full", **options) -> GaussianMixtureLayer:
    generator = torch.Generator().manual_seed(0)
    options = {"components": 3, "rank": 2, **options}
    layer = GaussianMixtureLayer(3, 2, covariance=covariance, generator=generator, **options).double()
    with torch.no_grad():
        layer.logits.copy_(torch.randn(options["components"], generator=generator))
    return layer


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 3, generator=generator).double(), torch.randn(40, 2, generator=generator).double()


def loss_of(layer: nn.Module) -> torch.Tensor:
    x, y = data()
    return (layer(x) - y).square().mean()


def loss_of_moments(layer: GaussianMixtureLayer, means, covariances) -> torch.Tensor:
    """The same loss as a function of means and dense covariances."""
    x, y = data()
    x, inner = torch.cat((x, x.new_ones(len(x), 1)), 1), layer.inner
    variance = torch.einsum("bi,kij,bj->bk", x, covariances[:, :inner, :inner], x)
    first, slope = layer.activation.moments(x @ means[:, :inner].mT, variance)
    cross = torch.einsum("koi,bi->bko", covariances[:, inner:, :inner], x)
    output = layer.logits.softmax(0) @ (first[..., None] * means[:, inner:] + slope[..., None] * cross)
    return (output - y).square().mean()


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_step_is_the_exponential_map(covariance):
    """C⁺ = (1 - h M) C (1 - h M) with M = (2 / p) dF/dC; for diagonals M is that of the variances."""
    layer, rate = layer_of(covariance), 0.05
    weights = layer.logits.softmax(0)
    roots = layer.factors.mT if covariance == "full" else layer.measure().covariance.root()
    means = layer.means.detach().clone().requires_grad_()
    dense = (roots @ roots.mT).detach().requires_grad_()
    if covariance == "diagonal":  # without the clamped deviations of v
        dense = torch.diag_embed(torch.cat((layer.stds.square(), torch.zeros(3, 2)), 1)).detach().requires_grad_()
    by_mean, by_covariance = torch.autograd.grad(loss_of_moments(layer, means, dense), (means, dense))
    if covariance == "diagonal":
        by_covariance = by_covariance.diagonal(dim1=-2, dim2=-1).diag_embed()
    by_covariance = (by_covariance + by_covariance.mT) / 2
    turn = torch.eye(dense.shape[-1]).double() - rate * 2 * by_covariance / weights[:, None, None]
    expected = turn @ dense @ turn

    loss_of(layer).backward()
    WassersteinSGD(flow_groups(layer), rate).step()
    torch.testing.assert_close(layer.means, means - rate * by_mean / weights[:, None], atol=1e-12, rtol=0)
    if covariance == "full":
        torch.testing.assert_close(layer.factors.mT @ layer.factors, expected, atol=1e-12, rtol=0)
    else:
        found = layer.stds.square()
        torch.testing.assert_close(found, expected.diagonal(dim1=-2, dim2=-1)[:, :4], atol=1e-12, rtol=0)


def test_low_rank_is_the_flow_of_the_lifted_noise():
    layer, rate = layer_of("low-rank"), 0.05
    before = copy.deepcopy(layer)
    loss_of(layer).backward()
    WassersteinSGD(flow_groups(layer), rate).step()
    weights = layer.logits.softmax(0)
    for name in ("stds", "factors"):
        old, new = getattr(before, name), getattr(layer, name)
        scale = weights.view(-1, *[1] * (old.ndim - 1))
        torch.testing.assert_close(new, old - rate * new.grad / scale, atol=1e-15, rtol=0)


def test_weights_flow_by_fisher_and_rao():
    """d log p = -h (dF/dp - its mean): the exponentiated gradient."""
    layer, rate, over = layer_of("diagonal", train_weights=True), 0.1, 0.5
    weights = layer.logits.detach().softmax(0).requires_grad_()
    x, y = data()
    mean, variance, _ = layer.pre_activations(x)
    first, _ = layer.activation.moments(mean, variance)
    output = (first * weights) @ layer.means[:, layer.inner :]
    by_weight = torch.autograd.grad((output - y).square().mean(), weights)[0]
    expected = (weights.log() - rate * over * by_weight).softmax(0)
    loss_of(layer).backward()
    WassersteinSGD(flow_groups(layer), rate, fisher_rao=over).step()
    torch.testing.assert_close(layer.logits.softmax(0), expected.detach(), atol=1e-12, rtol=0)


def test_splitting_a_component_changes_nothing():
    """The flow belongs to the measure: two halves of a component go where the whole goes."""
    layer = layer_of("low-rank")
    split = copy.deepcopy(layer)
    twice = torch.tensor([0, 1, 2, 2])
    for name in ("logits", "means", "factors", "stds"):
        setattr(split, name, nn.Parameter(getattr(layer, name).detach()[twice], name != "logits"))
    with torch.no_grad():
        split.logits[2:] -= math.log(2)
    for one in (layer, split):
        optimizer = WassersteinSGD(flow_groups(one), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            loss_of(one).backward()
            optimizer.step()
    x, _ = data()
    torch.testing.assert_close(split(x), layer(x), atol=1e-12, rtol=0)


def test_decay_is_that_of_the_second_moment():
    layer = layer_of("low-rank")
    before = copy.deepcopy(layer)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    WassersteinSGD(flow_groups(layer), 0.1, decay=0.2).step()
    torch.testing.assert_close(layer.means, before.means * 0.98)
    torch.testing.assert_close(layer.factors, before.factors * 0.98)
    assert torch.equal(layer.logits, before.logits)


def test_other_layers_move_by_plain_descent():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), layer_of("diagonal")).double()
    before = copy.deepcopy(network)
    loss_of(network).backward()
    WassersteinSGD(flow_groups(network), 0.1).step()
    expected = before[0].weight - 0.1 * network[0].weight.grad
    torch.testing.assert_close(network[0].weight, expected)
    assert not torch.equal(network[2].means, before[2].means)


def test_state_and_schedule_resume_bit_for_bit():
    def run(layer, optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(layer).backward()
            optimizer.step()
            scheduler.step()

    def fresh():
        layer = layer_of("low-rank", train_weights=True)
        optimizer = WassersteinSGD(flow_groups(layer), 0.1, fisher_rao=0.1, decay=1e-3)
        return layer, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    whole, half, again = fresh(), fresh(), fresh()
    run(*whole, 10)
    run(*half, 5)
    for old, new in zip(half, again, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    run(*again, 5)
    for first, second in zip(whole[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(first, second)


def test_decay_also_moves_weights():
    """Components far out lose weight: the gradient of decay / 2 E |theta|² by p_k is decay / 2 (|m_k|² + tr C_k)."""
    layer, decay, rate, over = layer_of("low-rank", train_weights=True), 0.2, 0.1, 0.5
    parts = (layer.means, layer.factors, layer.stds)
    energy = sum(tensor.detach().square().flatten(1).sum(1) for tensor in parts) * decay / 2
    mean, spread = layer.measure().moments()
    second = spread.trace() + mean @ mean
    torch.testing.assert_close(layer.logits.softmax(0) @ energy, second * decay / 2, atol=1e-9, rtol=0)
    expected = (layer.logits - rate * over * energy).detach().softmax(0)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    WassersteinSGD(layer, rate, fisher_rao=over, decay=decay).step()
    torch.testing.assert_close(layer.logits.softmax(0), expected, atol=1e-12, rtol=0)


def test_weights_keep_their_floor():
    weights = floored(torch.tensor([0.02, 0.07, 0.21, 0.7]), 0.15)
    torch.testing.assert_close(weights, torch.tensor([0.15, 0.15, 0.7 * 0.21 / 0.91, 0.7 * 0.7 / 0.91]))
    weights = floored(torch.tensor([0.01, 0.151, 0.239, 0.6]), 0.15)  # the second falls below when the first rises
    assert weights.min() >= 0.15 - 1e-7
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert floored(torch.tensor([math.nan, 0.5]), 0.1).isnan().any()  # the training's own stop names the layer


def test_what_cannot_be_is_refused():
    layer = layer_of("diagonal")
    with pytest.raises(InputError, match=r"lr is -1\.0, but must not be negative"):
        WassersteinSGD(layer, lr=-1.0)
    with pytest.raises(InputError, match="decay is nan, but must not be negative"):
        WassersteinSGD(layer, decay=math.nan)
    with pytest.raises(InputError, match="a group does not say whether it is a mixture; pass the network"):
        WassersteinSGD(layer.parameters())
    with pytest.raises(InputError, match="does not fit the logits"):
        WassersteinSGD([{"params": [layer.logits, nn.Parameter(torch.zeros(2, 2))], "mixture": True}])
    with pytest.raises(InputError, match="set `train_weights`"):
        WassersteinSGD(layer, fisher_rao=0.1)
    with pytest.raises(InputError, match="there is no such layer"):
        WassersteinSGD(nn.Linear(2, 2), fisher_rao=0.1)
    with pytest.raises(InputError, match=r"least_weight is 0\.5"):
        WassersteinSGD(layer_of("diagonal", train_weights=True), fisher_rao=0.1, least_weight=0.5)
    WassersteinSGD(layer, least_weight=0.5)  # weights that stay need no floor


def test_weights_that_all_go_to_one_component_are_refused():
    layer = layer_of("diagonal", train_weights=True)
    loss_of(layer).backward()
    layer.logits.grad.mul_(1e6)
    with pytest.raises(InputError, match="leaves one of 3 components all the weight"):
        WassersteinSGD(flow_groups(layer), 1.0, fisher_rao=1.0).step()


@pytest.mark.parametrize("least", [-math.inf, -200.0])
def test_a_component_without_weight_stays(least):
    layer = GaussianMixtureLayer(4, 2, components=3, rank=1)
    layer.logits.data = torch.tensor([0.0, 0.0, least])
    before = layer.means.detach().clone()
    optimizer = WassersteinSGD(flow_groups(layer), lr=0.1)
    layer(torch.randn(5, 4)).square().sum().backward()
    optimizer.step()
    assert all(tensor.isfinite().all() for tensor in (layer.means, layer.factors))
    assert (layer.means[2] == before[2]).all()
    assert (layer.means[:2] != before[:2]).any()
