"""The gradient by hand against autograd's of the definition, and its own derivatives."""

from __future__ import annotations

import itertools

import pytest
import torch

from gmcn.nn.activations import ACTIVATIONS
from gmcn.nn.mean_answer import _has_kernels, by_definition, mean_answer
from tests.nn.test_gaussian_mixture_layer import FAMILIES, inputs, layer_of

CLOSED = [name for name, kind in ACTIVATIONS.items() if kind.closed]


def arguments(covariance: str, name: str = "relu", **options):
    """Of ``mean_answer``, all with a gradient."""
    layer = layer_of(covariance, name, **options)
    x = torch.cat((inputs(7, 3), torch.ones(7, 1, dtype=torch.float64)), 1)
    given = (x, layer.logits.softmax(0), layer.means, layer.stds, layer.factors)
    return *(None if one is None else one.detach().requires_grad_() for one in given), layer.activation


@pytest.mark.parametrize(("covariance", "name"), list(itertools.product(FAMILIES, CLOSED)))
def test_it_is_the_definition(covariance, name):
    given = arguments(covariance, name)
    leaves = [one for one in given[:-1] if one is not None]
    expected, found = by_definition(*given), mean_answer(*given)
    assert type(found.grad_fn).__name__ == "MeanAnswerBackward"
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-13)
    gradients = [torch.autograd.grad(one.square().sum(), leaves, materialize_grads=True) for one in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_second_derivatives(covariance):
    *tensors, activation = arguments(covariance, "gelu", components=2)

    def called(*leaves):
        remaining = iter(leaves)
        return mean_answer(*(None if one is None else next(remaining) for one in tensors), activation)

    assert torch.autograd.gradgradcheck(called, [one for one in tensors if one is not None])


def test_functional_transforms_take_the_definition():
    layer, x = layer_of(), inputs(5, 3)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    found = torch.func.vmap(torch.func.jacrev(layer))(x)
    expected = torch.autograd.functional.jacobian(lambda x: layer(x).sum(0), x)  # [o, B, d]
    torch.testing.assert_close(found, expected.movedim(0, 1))


def test_dropped_components_have_finite_gradients():
    given = arguments("low-rank")
    with torch.no_grad():
        given[1][::2] = 0
    gradients = torch.autograd.grad(mean_answer(*given).square().sum(), given[:-1])
    expected = torch.autograd.grad(by_definition(*given).square().sum(), given[:-1])
    torch.testing.assert_close(gradients, expected, atol=1e-12, rtol=1e-12)


def test_frozen_parameters_have_no_gradient():
    layer = layer_of()
    layer.means.requires_grad_(False)
    layer(inputs(4, 3)).sum().backward()
    assert layer.means.grad is None
    assert layer.factors.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CLOSED)
def test_smoothed_are_derivatives_of_each_other(name):
    """dE s/dm = E s', and a variance acts like half a second derivative: what the gradient by hand is made of."""
    mean = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    variance = torch.linspace(0.1, 4, 13, dtype=torch.float64, requires_grad=True)

    def by(value, leaf):
        return torch.autograd.grad(value.sum() + 0 * (mean * variance).sum(), leaf, create_graph=True)[0]

    first, slope = ACTIVATIONS[name].moments(mean, variance)
    curve = by(slope, mean)
    for value, by_mean, twice in ((first, slope, curve), (slope, curve, by(curve, mean))):
        torch.testing.assert_close(by(value, mean), by_mean, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(by(value, variance), twice / 2, atol=1e-12, rtol=1e-12)


def test_a_build_without_kernels_is_told_once(monkeypatch, caplog):
    _has_kernels.cache_clear()
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: False)
    given = arguments("low-rank")
    found = [mean_answer(*given) for _ in range(2)]
    monkeypatch.undo()
    _has_kernels.cache_clear()
    assert caplog.text.count("built without kernels for CPU") == 1
    torch.testing.assert_close(found[0], mean_answer(*given))
