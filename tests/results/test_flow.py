"""How the measure of a layer moves, where it is known and against slow references."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD, flow_groups
from gmcn.results.flow import Flow, components, distance, effective, flows, mixture_layers, potential, residual

FAMILIES = ["diagonal", "low-rank", "full"]


def problem(covariance, activation="relu", components=3, seed=0, **more):
    """A layer in float64, inputs, labels and the loss of some outputs."""
    generator = torch.Generator().manual_seed(seed)
    layer = GaussianMixtureLayer(4, 3, components, covariance, 2, activation, generator=generator, **more).double()
    with torch.no_grad():
        layer.logits.copy_(torch.randn(components, generator=generator))
    inputs = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (40,), generator=generator)
    return layer, inputs, lambda outputs: torch.nn.functional.cross_entropy(outputs, labels)


def flow_of(layer, inputs, loss) -> Flow:
    return flows(layer, [lambda: loss(layer(inputs))])[""]


def test_batches_add_up_and_layers_have_names():
    network = torch.nn.Sequential(
        GaussianMixtureLayer(4, 5, 3), torch.nn.ReLU(), GaussianMixtureLayer(5, 2, 2, "diagonal")
    ).double()
    inputs = torch.randn(6, 3, 4, dtype=torch.float64)  # with leading dimensions
    assert list(mixture_layers(network)) == ["0", "2"]
    whole = flows(network, [lambda: network(inputs).square().sum()])
    parts = flows(network, [lambda part=part: network(part).square().sum() for part in inputs.split(4)])
    for name in ("0", "2"):
        for one, other in zip(vars(whole[name]).values(), vars(parts[name]).values(), strict=True):
            torch.testing.assert_close(one, other)
    assert whole["0"].inputs.shape == (18, 4)
    assert not [module for module in network.modules() if module._forward_hooks]


@pytest.mark.parametrize("covariance", FAMILIES)
def test_velocities_are_those_of_the_optimiser(covariance):
    layer, inputs, loss = problem(covariance)
    flow, before = flow_of(layer, inputs, loss), copy.deepcopy(layer)
    loss(layer(inputs)).backward()
    WassersteinSGD(flow_groups(layer), lr=1e-3).step()
    torch.testing.assert_close((layer.means - before.means) / 1e-3, flow.means, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close((layer.factors - before.factors) / 1e-3, flow.factors, rtol=1e-6, atol=1e-9)
    if layer.stds is not None:
        torch.testing.assert_close((layer.stds - before.stds) / 1e-3, flow.stds[:, : layer.inner], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_the_potential_is_the_change_of_the_loss_by_a_little_of_a_neuron(covariance):
    """F((1 - h) measure + h neuron) - F = h (U(neuron) - E U) + ..."""
    layer, inputs, loss = problem(covariance, "erf")
    flow = flow_of(layer, inputs, loss)
    neurons = torch.randn(5, layer.means.shape[1], dtype=torch.float64)
    outputs = layer(inputs).detach()
    mean = (flow.gradients * outputs).sum()  # E U
    for neuron, value in zip(neurons, potential(layer, neurons, flow), strict=True):
        answer = layer.activation(inputs @ neuron[:4] + neuron[4])[:, None] * neuron[5:]
        h = 1e-5
        change = loss(outputs + h * (answer - outputs)) - loss(outputs - h * (answer - outputs))
        assert (change / (2 * h)).item() == pytest.approx((value - mean).item(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_velocities_are_the_best_of_their_form(covariance):
    """By least squares over many neurons and their noise, component by component."""
    layer, inputs, loss = problem(covariance, "gelu", output_deviation=0.3 * (covariance != "full"))
    flow = flow_of(layer, inputs, loss)
    dim, count = layer.means.shape[1], 100_000
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(count, dim + layer.factors.shape[1], generator=generator, dtype=torch.float64)
    stds = torch.zeros(3, dim, dtype=torch.float64)
    if layer.stds is not None:
        stds[:, : layer.inner], stds[:, layer.inner :] = layer.stds.detach(), layer.output_deviation
    neurons = layer.means[0] + noise[:, :dim] * stds[0] + noise[:, dim:] @ layer.factors[0]
    neurons = neurons.detach().requires_grad_()
    (slope,) = torch.autograd.grad(potential(layer, neurons, flow).sum(), neurons)
    scale = flow.squared[0].sqrt().item()
    torch.testing.assert_close(-slope.mean(0), flow.means[0], rtol=0, atol=0.02 * scale)
    torch.testing.assert_close(-(noise[:, dim:].mT @ slope) / count, flow.factors[0], rtol=0, atol=0.02 * scale)
    if layer.stds is not None:
        own = slice(0, layer.inner)
        found = -(noise[:, :dim] * slope).mean(0)
        torch.testing.assert_close(found[own], flow.stds[0, own], rtol=0, atol=0.02 * scale)


def test_a_field_of_the_family_leaves_nothing():
    """With linear neurons U is v·(Σ g xᵀ) w, a quadratic: full covariances follow it exactly."""
    layer, inputs, loss = problem("full", "linear")
    found = residual(layer, flow_of(layer, inputs, loss), 100, torch.Generator().manual_seed(0))
    assert found["residual"] == pytest.approx(0, abs=1e-20)
    assert found["residual_error"] == pytest.approx(0, abs=1e-20)
    assert found["speed"] > 0


def test_the_residual_of_a_diagonal_with_linear_neurons_is_known():
    """The matrix H of U couples w with v alone, so that a diagonal leaves out all of it: tr H C H."""
    layer, inputs, loss = problem("diagonal", "linear")
    flow = flow_of(layer, inputs, loss)
    coupled = flow.gradients.mT @ torch.cat((inputs, torch.ones(40, 1, dtype=torch.float64)), 1)  # [o, d + 1]
    weights = layer.logits.softmax(0)
    left = (weights * (coupled.square().sum(0) * layer.stds.square()).sum(1)).sum().item()
    whole = left + (weights * flow.squared).sum().item()
    found = residual(layer, flow, 20_000, torch.Generator().manual_seed(0))
    assert found["residual_error"] < 0.01 * found["residual"]
    assert abs(found["residual"] - left / whole) < 4 * found["residual_error"]
    assert found["speed"] == pytest.approx(math.sqrt(whole), rel=0.01)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_the_parts_are_orthogonal_and_the_error_is_that_of_repetitions(covariance):
    layer, inputs, loss = problem(covariance)
    flow = flow_of(layer, inputs, loss)
    repeated = [residual(layer, flow, 300, torch.Generator().manual_seed(seed)) for seed in range(60)]
    values = torch.tensor([found["residual"] for found in repeated])
    error = torch.tensor([found["residual_error"] for found in repeated]).mean().item()
    assert values.min() > 0
    assert values.max() < 1
    assert values.std().item() == pytest.approx(error, rel=0.35)
    drawn = torch.cat(layer.sample(200_000, torch.Generator().manual_seed(7)), 1).requires_grad_()
    (slope,) = torch.autograd.grad(potential(layer, drawn, flow).sum(), drawn)
    free = slope.square().sum(1).mean().item()  # not split in two
    assert residual(layer, flow, 50_000, torch.Generator().manual_seed(1))["speed"] ** 2 == pytest.approx(free, 0.03)


def test_a_layer_that_does_not_move_has_no_residual():
    layer, inputs, _ = problem("full")
    found = residual(layer, flow_of(layer, inputs, lambda outputs: 0 * outputs.sum()), 10, torch.Generator())
    assert found == {"residual": 0.0, "residual_error": 0.0, "speed": 0.0}


@pytest.mark.parametrize("covariance", FAMILIES)
def test_components_in_effect(covariance):
    layer, inputs, _ = problem(covariance, components=4)
    with torch.no_grad():
        layer.logits.copy_(torch.tensor([0.5, 0.5, 1e-9, 1e-9]).log())
        layer.means[1] = layer.means[0]
        layer.factors[1] = layer.factors[0]
        if layer.stds is not None:
            layer.stds[1] = layer.stds[0]
        layer.means[3, layer.inner - 1] = -1e3  # a bias below everything
    found = components(layer, inputs)
    assert (found["components"], found["dead"]) == (4, 1)
    assert found["effective"] == pytest.approx(2, rel=1e-6)
    assert found["effective_by_output"] == pytest.approx(2, rel=1e-6)


def test_what_a_component_answers_adds_up_to_the_layer():
    """One component has the whole output; another activation counts as dead what answers nothing."""
    layer, inputs, _ = problem("low-rank", "erf")
    with torch.no_grad():
        layer.means[1:, layer.inner :] = 0
        layer.factors[1:] = 0
    assert components(layer, inputs)["effective_by_output"] == pytest.approx(1)
    assert components(layer, inputs)["dead"] == 2
    assert effective(torch.full((7,), 1 / 7)) == pytest.approx(7)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_a_distance_is_that_of_optimal_transport(covariance):
    layer, *_ = problem(covariance)
    assert distance(layer, layer) == {"squared": 0.0, "length": 0.0, "lifted": 0.0}
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.means[:, 0] += 3
    assert distance(layer, other)["length"] == pytest.approx(3)
    assert distance(layer, other)["lifted"] == pytest.approx(3)
    with torch.no_grad():  # other factors of the same covariances: only the parameters have moved
        other.means.copy_(layer.means)
        other.factors.mul_(-1)
    found = distance(layer, other)
    assert found["length"] == pytest.approx(0, abs=1e-6)
    assert found["lifted"] > 0.1 or covariance == "diagonal"
