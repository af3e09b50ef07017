"""Convolution: equations (3) and (4)."""

from __future__ import annotations

import pytest
import torch

from gmcn import Mixture

from . import checks
from .workload import random_mixture, random_points, transformed


def operation(ops, data, kernels):
    return ops.convolve(data, kernels)


def inputs(dim, batch=2, channels=3, outputs=4, components=7, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1)
    return data, random_mixture((outputs, channels), kernel_components, dim, seed=2)


@pytest.mark.parametrize("dim", [2, 3])
def test_order(ops, dim):
    """Component n + N (f + F k) is the data's n in channel f with the kernel's k."""
    data, kernels = inputs(dim)
    convolved = ops.convolve(data, kernels)
    n, f, k = 5, 2, 3
    index = n + 7 * (f + 3 * k)
    assert convolved.batch_shape == (2, 4)
    assert convolved.components == 7 * 3 * 5
    assert convolved.weights[1, 3, index] == data.weights[1, f, n] * kernels.weights[3, f, k]
    assert torch.equal(convolved.positions[1, 3, index], data.positions[1, f, n] + kernels.positions[3, f, k])
    assert torch.equal(convolved.covariances[1, 3, index], data.covariances[1, f, n] + kernels.covariances[3, f, k])


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("components", [1, 33])
def test_budget(dim, components):
    checks.assert_budget(operation, inputs(dim, components=components))


@pytest.mark.parametrize("dim", [2, 3])
def test_twin(dim):
    checks.assert_twins(operation, inputs(dim))


def test_gradcheck(ops):
    checks.assert_gradcheck(ops, operation, inputs(2, 2, 1, 2, 2, 2))


def test_determinism():
    checks.assert_deterministic(operation, inputs(3))


def test_strides():
    checks.assert_strides_do_not_matter(operation, inputs(2))


def test_empty(ops):
    convolved = ops.convolve(*inputs(3, batch=0))
    assert convolved.covariances.shape == (0, 4, 105, 3, 3)


@pytest.mark.parametrize("dim", [2, 3])
def test_integral_is_the_product_of_integrals(ops, dim):
    data, kernels = inputs(dim)
    product = torch.einsum("bf,gf->bg", ops.integrate(data), ops.integrate(kernels))
    torch.testing.assert_close(ops.integrate(ops.convolve(data, kernels)), product)


@pytest.mark.parametrize("dim", [2, 3])
def test_commutes(ops, dim):
    """As functions: the order of components differs."""
    left, right = inputs(dim, batch=1, outputs=1)
    points = random_points((1, 1), 20, dim)
    torch.testing.assert_close(
        ops.evaluate(ops.convolve(left, right), points), ops.evaluate(ops.convolve(right, left), points)
    )


def test_moves_with_its_input(ops):
    data, kernels = inputs(3)
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = ops.convolve(transformed(data, shift=shift), kernels)
    expected = transformed(ops.convolve(data, kernels), shift=shift)
    torch.testing.assert_close(moved.positions, expected.positions)


def test_convolution_on_a_grid(ops):
    """Values of the convolved mixture against the convolution of values."""
    data, kernels = random_mixture((1, 2), 3, 2, spread=1.0), random_mixture((1, 2), 2, 2, spread=0.5, seed=9)
    step = 0.1
    axis = torch.arange(-8, 8, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    # The integral over u of data(u) kernel(x - u), summed over channels.
    points = torch.tensor([[0.0, 0.0], [1.0, -0.5], [-2.0, 1.5]], dtype=torch.float64)
    there = ops.evaluate(data, grid)[0]  # [F, M]
    values = torch.stack([(there * ops.evaluate(kernels, point - grid)[0]).sum() * step**2 for point in points])
    torch.testing.assert_close(ops.evaluate(ops.convolve(data, kernels), points)[0, 0], values, rtol=1e-8, atol=1e-10)


def test_zero_kernel(ops):
    data, kernels = inputs(2)
    convolved = ops.convolve(data, Mixture(torch.zeros_like(kernels.weights), *kernels[1:]))
    assert (ops.evaluate(convolved, random_points((2, 4), 5, 2)) == 0).all()
