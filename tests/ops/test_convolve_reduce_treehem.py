"""The reduction of a convolution that is never stored."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops

from . import checks
from .compiled import DEVICE, compiled
from .workload import random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])


def reduce(n, t=2):
    def operation(ops, weights, data, kernels):
        return ops.convolve_reduce_treehem(weights, data, kernels, n, t)

    return operation


def inputs(dim, batch=2, channels=3, outputs=4, components=7, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1)
    kernels = random_mixture((outputs, channels), kernel_components, dim, seed=2)
    generator = torch.Generator().manual_seed(3)
    shape = (batch, outputs, channels * components * kernel_components)
    return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05, data, kernels


@DIMS
@pytest.mark.parametrize(("n", "t"), [(1, 2), (16, 2), (17, 1), (104, 2), (105, 2), (200, 2)])
def test_twin(dim, n, t):
    # No larger t: distances within a convolution repeat, and rounding would break the ties of the clustering.
    checks.assert_twins(reduce(n, t), inputs(dim), tolerance=1e-8)


@pytest.mark.parametrize("batch", [1, 33, 70])
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradients_are_those_of_the_stored_convolution(batch, outputs):
    """Tasks group shapes and channels by size: every grouping has to add up."""

    def stored(ops, weights, data, kernels):
        return ops.reduce_treehem(ops.convolve(data, kernels)._replace(weights=weights), 5)

    values = inputs(3, batch, 2, outputs, 3, 2)
    ours = checks.run(reduce(5), compiled, values)
    for one, other in zip(ours, checks.run(stored, compiled, values), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_deterministic():
    checks.assert_deterministic(reduce(8), inputs(3, 5))


def test_strides_do_not_matter():
    checks.assert_strides_do_not_matter(reduce(8), inputs(3))


def test_opcheck():
    weights, data, kernels = (value.to(torch.float32) for value in inputs(3))
    tensors = [tensor.requires_grad_() for tensor in (weights, *data[1:], *kernels[1:])]
    checks.opcheck("convolve_reduce_treehem", *tensors, 8, 2, 0.5, 4.0)


def test_no_second_derivative():
    checks.assert_no_second_derivative(reduce(8), inputs(3))


def test_what_does_not_fit_is_named():
    weights, data, kernels = inputs(3)
    with pytest.raises(ValueError, match=r"weights are \[2, 4, 104\].*\[2, 4, 105\]"):
        gmcn.ops.convolve_reduce_treehem(weights[..., 1:], data, kernels, 8)
    with pytest.raises(ValueError, match="t must lie in"):
        gmcn.ops.convolve_reduce_treehem(weights, data, kernels, 8, 9)


def test_a_negative_weight_is_refused():
    weights, data, kernels = inputs(3)
    weights[1, 2, 3] = -1.0
    with pytest.raises(RuntimeError, match=r"mixture 6 .* negative weight"):
        gmcn.ops.convolve_reduce_treehem(weights, data, kernels, 8)


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU gives not-a-number")
def test_the_gradient_names_the_mixture_whose_weight_is_bad():
    """A task has several."""
    weights, data, kernels = inputs(3, 70, 2, 3, 3, 2)
    arguments = (weights, *data[1:], *kernels[1:], 5, 2, 0.5, 4.0)
    reduced = torch.ops.gmcn.convolve_reduce_treehem(*arguments)
    weights[66, 2, 0] = -1
    with pytest.raises(RuntimeError, match=r"mixture 200 .* negative weight"):
        torch.ops.gmcn.convolve_reduce_treehem_backward(*map(torch.ones_like, reduced), *arguments)
