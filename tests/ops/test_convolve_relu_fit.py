"""The dense fit of a convolution that is never stored."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops

from . import checks
from .compiled import DEVICE, compiled
from .workload import random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])
OPTIONS = pytest.mark.parametrize("options", [{}, {"offset": 0.1, "smoothing": (0.05, 0.05)}], ids=["paper", "authors"])


def fit(options):
    def operation(ops, data, kernels):
        return ops.convolve_relu_fit(data, kernels, **options)

    return operation


def inputs(dim, batch=2, channels=3, outputs=4, components=7, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1)
    return data, random_mixture((outputs, channels), kernel_components, dim, seed=2)


@DIMS
@OPTIONS
def test_twin(dim, options):
    checks.assert_twins(fit(options), inputs(dim), tolerance=1e-8)


@DIMS
@OPTIONS
def test_budget(dim, options):
    checks.assert_budget(fit(options), inputs(dim, batch=16))  # one sum that cancels must not decide


@DIMS
def test_gradcheck(dim):
    checks.assert_gradcheck(compiled, fit({"offset": 0.1}), inputs(dim, 1, 2, 2, 2, 2))


@pytest.mark.parametrize("batch", [1, 2, 33, 70])
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradients_are_those_of_the_stored_convolution(batch, outputs):
    """Tasks group shapes and channels by size: every grouping has to add up."""

    def stored(ops, data, kernels):
        return ops.relu_fit(ops.convolve(data, kernels), offset=0.1).weights

    values = inputs(3, batch, 2, outputs, 3, 2)
    ours = checks.run(fit({"offset": 0.1}), compiled, values)
    for one, other in zip(ours, checks.run(stored, compiled, values), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("batch", "outputs", "components"), [(0, 2, 3), (2, 0, 3), (2, 2, 0)])
def test_nothing_to_fit(batch, outputs, components):
    weights, *gradients = checks.run(fit({}), compiled, inputs(3, batch, 2, outputs, components, 2))
    assert weights.shape == (batch, outputs, components * 4)
    assert all((gradient == 0).all() for gradient in gradients)


def test_deterministic():
    checks.assert_deterministic(fit({}), inputs(3, 5))


def test_strides_do_not_matter():
    checks.assert_strides_do_not_matter(fit({}), inputs(3))


def test_opcheck():
    data, kernels = (value.to(torch.float32).map(torch.Tensor.requires_grad_) for value in inputs(3))
    checks.opcheck("convolve_relu_fit", *data, *kernels, 0.1, 0.0, 0.0, 0.0)


def test_no_second_derivative():
    checks.assert_no_second_derivative(fit({}), inputs(3))


def test_what_does_not_fit_is_named():
    data, kernels = inputs(3)
    with pytest.raises(ValueError, match="channels"):
        gmcn.ops.convolve_relu_fit(data.map(lambda tensor: tensor[:, :2]), kernels)
    with pytest.raises(ValueError, match="offset"):
        gmcn.ops.convolve_relu_fit(data, kernels, offset=-1.0)
    flat = kernels._replace(covariances=-2 * kernels.covariances)
    with pytest.raises(RuntimeError, match=r"mixture 0 .* is not positive definite"):
        gmcn.ops.convolve_relu_fit(data, flat)


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU gives not-a-number")
def test_the_gradient_names_the_mixture_whose_covariance_is_bad():
    """A task has several."""
    data, kernels = inputs(3, 70, 2, 3, 3, 2)
    options = (0.0, 0.0, 0.0, 0.0)
    weights, *kept = torch.ops.gmcn.convolve_relu_fit(*data, *kernels, *options)
    data.covariances[66] *= -100
    with pytest.raises(RuntimeError, match="a covariance of mixture 198 "):
        torch.ops.gmcn.convolve_relu_fit_backward(torch.ones_like(weights), *data, *kernels, *kept, *options)
