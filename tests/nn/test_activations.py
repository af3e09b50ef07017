"""Expectations of activations: against quadrature, against draws, and where variances vanish or are huge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.nn.activations import ACTIVATIONS, Activation, activation, owen

CLOSED = ("relu", "erf", "gelu", "linear")
MEANS, DEVIATIONS = (-10.0, -3.0, -0.5, 0.0, 0.2, 1.0, 10.0), (1e-3, 0.1, 0.5, 1.0, 3.0, 10.0)
PLACES = list(itertools.product(MEANS, DEVIATIONS))


def expectation(function, mean: float, deviation: float) -> float:
    """E f(z) by Gauss and Legendre's rule on pieces of a unit's length, which end where a function may have a kink."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    low, high = -12.0, 12.0
    cuts = np.linspace(low, high, 49)
    around = (np.linspace(-8, 8, 65) - mean) / deviation  # features of the activation have a length of one
    edges = np.unique(np.concatenate((cuts, around[(around > low) & (around < high)])))
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half) + half * nodes
    values = function(torch.from_numpy(mean + deviation * x)).numpy()
    return float((values * np.exp(-x * x / 2) / np.sqrt(2 * np.pi) * half * weights).sum())


def derivative(kind: Activation, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(kind(x).sum(), x)[0]


def at(mean: float, deviation: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(deviation**2, dtype=torch.float64)


@pytest.mark.parametrize("name", CLOSED)
def test_moments_are_those_of_quadrature(name):
    kind = activation(name)
    for mean, deviation in PLACES:
        first, slope = kind.moments(*at(mean, deviation))
        assert first.item() == pytest.approx(expectation(kind, mean, deviation), abs=1e-12, rel=1e-12)
        expected = expectation(lambda x: derivative(kind, x), mean, deviation)
        assert slope.item() == pytest.approx(expected, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_second_moments_are_those_of_quadrature(name):
    kind = activation(name)
    for mean, deviation in PLACES:
        zeroth, first, _ = kind.second(*at(mean, deviation))
        expected = expectation(lambda x: kind(x).square(), mean, deviation)
        assert zeroth.item() == pytest.approx(expected, abs=1e-10, rel=1e-10)
        expected = expectation(lambda x: 2 * kind(x) * derivative(kind, x), mean, deviation)
        assert first.item() == pytest.approx(expected, abs=1e-10, rel=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_second_derivative_is_that_of_the_first(name):
    kind = activation(name)
    mean = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    for deviation in (0.3, 1.0, 3.0):
        zeroth, first, second = kind.second(mean, torch.full_like(mean, deviation**2))
        for value, slope in ((zeroth, first), (first, second)):
            found = torch.autograd.grad(value.sum(), mean, retain_graph=True)[0]
            torch.testing.assert_close(found, slope.detach(), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_moments_are_those_of_draws(name):
    kind, generator, count = activation(name), torch.Generator().manual_seed(0), 400_000
    for mean, deviation in ((-1.0, 0.5), (0.3, 1.0), (2.0, 2.0)):
        z = mean + deviation * torch.randn(count, generator=generator, dtype=torch.float64)
        value = kind(z)
        first, slope = kind.moments(*at(mean, deviation))
        second = kind.second(*at(mean, deviation))[0]
        for draws, expected in ((value, first), (derivative(kind, z), slope), (value.square(), second)):
            error = draws.std().item() / count**0.5
            assert abs(draws.mean().item() - expected.item()) <= 4.5 * error + 1e-12


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(name):
    kind = activation(name)
    mean = torch.tensor([-3.0, -0.2, 0.0, 0.7, 5.0], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.5, 1e-2, 1.0, 4.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kind.moments, (mean, variance))
    assert torch.autograd.gradcheck(kind.second, (mean, variance))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_variance_and_a_huge_one_are_numbers(name, dtype):
    kind = activation(name)
    mean = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], dtype=dtype).repeat(4).requires_grad_()
    variance = torch.tensor([0.0, 1e-14, 1.0, 1e8], dtype=dtype).repeat_interleave(5).requires_grad_()
    outputs = [*kind.moments(mean, variance), *kind.second(mean, variance)]
    gradients = torch.autograd.grad(sum(output.sum() for output in outputs), (mean, variance))
    assert all(tensor.isfinite().all() for tensor in (*outputs, *gradients))
    # Without variance it is the activation itself.
    torch.testing.assert_close(outputs[0][:5], kind(mean[:5]), atol=2e-6, rtol=2e-6)


def test_error_of_quadrature_grows_with_the_deviation():
    """What docs/gm_layers.md prints: 32 nodes are exact for small deviations only."""
    kind = activation("tanh")
    errors = [
        max(abs(kind.moments(*at(mean, s))[0].item() - expectation(kind, mean, s)) for mean in MEANS)
        for s in (0.1, 0.5, 1.0, 3.0)
    ]
    most = (1e-13, 1e-10, 1e-5, 3e-2)
    assert all(error < limit for error, limit in zip(errors, most, strict=True))
    assert errors[3] > 1e-4


def test_owens_function_is_scipys():
    special = pytest.importorskip("scipy.special")
    h, a = torch.meshgrid(torch.linspace(-15, 15, 61), torch.linspace(0, 1, 21), indexing="ij")
    found = owen(h.double(), a.double())
    np.testing.assert_allclose(found.numpy(), special.owens_t(h.double().numpy(), a.double().numpy()), atol=1e-15)


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="activation 'swish'"):
        activation("swish")
