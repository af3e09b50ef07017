"""Fused convolution and fitting: section 6 and appendix A."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops

from . import checks
from .workload import moments, random_mixture, random_points, transformed

DIMS = pytest.mark.parametrize("dim", [2, 3])


def to(n):
    def operation(ops, data, kernels):
        return ops.convolve_fit(data, kernels, n)

    return operation


def inputs(dim, batch=2, channels=3, outputs=4, components=7, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1)
    return data, random_mixture((outputs, channels), kernel_components, dim, seed=2)


@DIMS
@pytest.mark.parametrize(("components", "n"), [(1, 2), (7, 16), (33, 64)])
def test_budget(dim, components, n):
    checks.assert_budget(to(n), inputs(dim, components=components))


@DIMS
@pytest.mark.parametrize("n", [2, 3, 17, 104, 105, 120])
def test_twin(dim, n):
    checks.assert_twins(to(n), inputs(dim), tolerance=1e-8)


@DIMS
def test_gradcheck(ops, dim):
    checks.assert_gradcheck(ops, to(4), inputs(dim, 1, 2, 2, 2, 2))


@DIMS
@pytest.mark.parametrize("n", [1, 2, 17, 105, 120])
def test_conserves_moments(ops, dim, n):
    data, kernels = inputs(dim)
    fitted = ops.convolve_fit(data, kernels, n)
    assert fitted.batch_shape == (2, 4)
    assert fitted.components == n
    for before, after in zip(moments(ops.convolve(data, kernels)), moments(fitted), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


@DIMS
@pytest.mark.parametrize("n", [105, 120])
def test_enough_components_are_the_convolution(ops, dim, n):
    data, kernels = inputs(dim)
    points = random_points((2, 4), 20, dim)
    torch.testing.assert_close(
        ops.evaluate(ops.convolve_fit(data, kernels, n), points), ops.evaluate(ops.convolve(data, kernels), points)
    )


def test_padding(ops):
    fitted = ops.convolve_fit(*inputs(3), 110)
    assert (fitted.weights[..., 105:] == 0).all()
    assert (fitted.positions[..., 105:, :] == 0).all()
    assert torch.equal(fitted.covariances[..., 105:, :, :], torch.eye(3).double().expand(2, 4, 5, 3, 3))


@DIMS
def test_signs_are_not_mixed(ops, dim):
    """Sums of positive and of negative weights are those of the convolution, already with two components."""
    data, kernels = inputs(dim)
    weights, exact = ops.convolve_fit(data, kernels, 2).weights, ops.convolve(data, kernels).weights
    for sign in (1, -1):
        torch.testing.assert_close((sign * weights).relu().sum(-1), (sign * exact).relu().sum(-1))


@DIMS
def test_covariances_stay_positive(ops, dim):
    fitted = ops.convolve_fit(*inputs(dim), 16)
    assert torch.linalg.eigvalsh(fitted.covariances).min() > 0


def test_moves_with_its_input(ops):
    data, kernels = inputs(3)
    moved = ops.convolve_fit(transformed(data, scale=2.0, shift=8.0), transformed(kernels, scale=2.0), 16)
    expected = transformed(ops.convolve_fit(data, kernels, 16), scale=2.0, shift=8.0)
    for one, other in zip(moved, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_zero_weights(ops):
    """Nodes without mass have no mean; values and gradients stay finite."""
    data, kernels = inputs(3)
    data.weights[:, :, 3:] = 0
    for tensor in checks.run(to(40), ops, (data, kernels)):
        assert tensor.isfinite().all()


def test_empty(ops):
    assert ops.convolve_fit(*inputs(3, batch=0), 16).covariances.shape == (0, 4, 16, 3, 3)


@pytest.mark.parametrize("empty", ["components", "kernel_components", "channels"])
def test_empty_mixtures(empty):
    """Nothing convolved is n empty slots, and gradients of nothing."""
    fitted = checks.run(to(4), gmcn.ops, inputs(3, **{empty: 0}))
    assert (fitted[0] == 0).all()
    assert torch.equal(fitted[2], torch.eye(3).double().expand(2, 4, 4, 3, 3))


def test_too_many_components():
    one, many = random_mixture((1, 1), 1, 2), random_mixture((1, 1), 65537, 2)
    data = one.map(lambda tensor: tensor.expand(1, 1, 65536, *tensor.shape[3:]))
    with pytest.raises(RuntimeError, match="65536 x 1 x 65537 convolved components are more than 2147483647"):
        gmcn.ops.convolve_fit(data, many, 4)


@pytest.mark.parametrize(
    ("data", "kernels", "words"),
    [
        (random_mixture((2, 3), 4, 2), random_mixture((5, 2), 4, 2), "3 channels.*2"),
        (random_mixture((2, 3), 4, 2), random_mixture((5, 3), 4, 3), "2D.*3D"),
        (random_mixture((2,), 4, 2), random_mixture((5, 3), 4, 2), r"\[B, F, N\].*\[2, 4\]"),
    ],
    ids=["channels", "dimension", "channels missing"],
)
@pytest.mark.parametrize("name", ["convolve", "convolve_fit"])
def test_bad_input(name, data, kernels, words):
    with pytest.raises(ValueError, match=words):
        getattr(gmcn.ops, name)(data, kernels, *([8] if name == "convolve_fit" else []))


def test_determinism():
    checks.assert_deterministic(to(16), inputs(3))


def test_strides():
    checks.assert_strides_do_not_matter(to(16), inputs(2))


def test_no_second_derivative():
    checks.assert_no_second_derivative(to(16), inputs(3))


def test_opcheck():
    data, kernels = (value.map(lambda tensor: tensor.float().requires_grad_()) for value in inputs(3))
    checks.opcheck("convolve_fit", *data, *kernels, 16)


def test_opcheck_backward():
    data, kernels = (value.to(torch.float32) for value in inputs(3))
    checks.opcheck("convolve_fit_backward", *random_mixture((2, 4), 16, 3).to(torch.float32), *data, *kernels, 16)


def test_gradients_of_another_shape_are_refused():
    data, kernels = random_mixture((1, 1), 3, 2), random_mixture((1, 1), 2, 2)
    upstream = random_mixture((1, 1), 3, 2)
    with pytest.raises(RuntimeError, match="weights_gradient has the wrong shape"):
        torch.ops.gmcn.convolve_fit_backward(*upstream, *data, *kernels, 4)
