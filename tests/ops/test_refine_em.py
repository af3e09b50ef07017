"""Expectation-maximisation of a reduced mixture on the mixture that it was made from."""

from __future__ import annotations

import sys

import pytest
import torch

import gmcn.ops
from gmcn import Mixture
from gmcn.ops.reference.em import expected_log_densities

from . import checks
from .workload import moments, random_mixture, random_rotation, transformed

DIMS = pytest.mark.parametrize("dim", [2, 3])
STEPS = pytest.mark.parametrize("steps", [1, 3])


def refine(steps=1, **options):
    def operation(ops, mixture, target):
        return ops.refine_em(mixture, target, steps, **options)

    return operation


def inputs(dim, n=5, components=33, shape=(2, 3)):
    """A start of other components than the target's, and a target."""
    start = random_mixture(shape, n, dim, positive=True, seed=1)
    return start, random_mixture(shape, components, dim, positive=True)


def reduced(dim, n=8, components=33):
    target = random_mixture((2, 3), components, dim, positive=True)
    return gmcn.ops.reduce_treehem(target, n), target


@DIMS
@STEPS
def test_twin(dim, steps):
    checks.assert_twins(refine(steps), inputs(dim))
    checks.assert_twins(refine(steps, virtual_samples=0.5), inputs(dim))


@DIMS
def test_float32(dim):
    """Not by the budget of twice the twin's error: second moments about a common origin cost a few digits."""
    exact = checks.run(refine(), gmcn.ops.reference, reduced(dim))
    ours = checks.run(refine(), checks.compiled, reduced(dim), torch.float32)
    assert max(checks.errors(ours, exact)) < 2e-4


@DIMS
@STEPS
def test_gradcheck(ops, dim, steps):
    checks.assert_gradcheck(ops, refine(steps), inputs(dim, 3, 6, (2,)))


@DIMS
@STEPS
def test_conserves_moments(ops, dim, steps):
    start, target = inputs(dim)
    refined = ops.refine_em(start, target, steps)
    for wanted, found in zip(moments(target), moments(refined), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    assert (torch.linalg.eigvalsh(refined.covariances) > 0).all()


@DIMS
@pytest.mark.parametrize("samples", [0.5, 1.0, 2.0, 8.0])
def test_no_step_lowers_the_bound(ops, dim, samples):
    start, target = inputs(dim)
    bounds = []
    for _ in range(6):
        log_joint = start.weights.log()[..., None, :] - start.weights.sum(-1).log()[..., None, None]
        log_joint = log_joint + samples * expected_log_densities(target, start)
        bounds.append((target.weights * log_joint.logsumexp(-1)).sum(-1))
        start = ops.refine_em(start, target, virtual_samples=samples)
    assert (torch.stack(bounds).diff(dim=0) >= -1e-10).all()
    assert (bounds[1] > bounds[0]).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_lowers_the_error_of_a_reduction(ops, steps):
    """Of a rectified convolution, whose components are wide, as in the network."""
    data = random_mixture((4, 2), 40, 2, positive=True)
    kernels = random_mixture((3, 2), 5, 2, seed=2, positive=True, smallest=0.7)
    dense = ops.relu_fit(ops.convolve(data, kernels))
    start = ops.reduce_treehem(dense, 12)
    axis = torch.arange(-8, 8, 0.5, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).expand(4, 3, -1, -1)
    before, after = (
        (ops.evaluate(dense, grid) - ops.evaluate(some, grid)).square().mean()
        for some in (start, ops.refine_em(start, dense, steps))
    )
    assert after < 0.8 * before


def test_far_components_stay(ops):
    """Each stands for itself alone: a fixed point."""
    mixture = random_mixture((2,), 6, 3, positive=True, spread=1e3)
    for before, after in zip(mixture, ops.refine_em(mixture, mixture), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7)


@DIMS
def test_moves_with_space(ops, dim):
    start, target = inputs(dim)
    motion = {"rotation": random_rotation(dim), "scale": 3.0, "shift": 100.0}
    moved = ops.refine_em(transformed(start, **motion), transformed(target, **motion))
    expected = transformed(ops.refine_em(start, target), **motion)
    for one, other in zip(moved, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_without_weight_components_stay(ops):
    """Padding, targets of weight zero, and a channel without any mass; values and gradients are finite."""
    start, target = inputs(3)
    start.weights[:, :, 3:] = 0
    target.weights[:, :, 20:] = 0
    target.weights[1, 2] = 0
    refined = ops.refine_em(start, target)
    assert (refined.weights[..., 3:] == 0).all()
    assert (refined.weights[1, 2] == 0).all()
    for one, other in zip(refined[1:], start[1:], strict=True):
        assert torch.equal(one[:, :, 3:], other[:, :, 3:])
        assert torch.equal(one[1, 2], other[1, 2])
    fewer = ops.refine_em(start.map(lambda tensor: tensor[:, :, :3]), target.map(lambda tensor: tensor[:, :, :20]))
    torch.testing.assert_close(refined.weights[..., :3], fewer.weights)
    assert all(tensor.isfinite().all() for tensor in checks.run(refine(), ops, [start, target]))
    start.weights[0] = 0
    assert all(tensor.isfinite().all() for tensor in checks.run(refine(), ops, [start, target]))


def test_where_none_has_weight_each_becomes_an_equal_share_of_the_target(ops):
    start, target = inputs(3)
    start.weights.zero_()
    refined = ops.refine_em(start, target)
    for place in range(5):
        one = refined.map(lambda tensor, place=place: tensor[:, :, place : place + 1])
        for found, wanted in zip(moments(one), moments(target), strict=True):
            torch.testing.assert_close(5 * found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pairs", [1, 400])
def test_parts_are_the_whole(monkeypatch, pairs):
    whole = checks.run(refine(2), gmcn.ops, inputs(3))
    monkeypatch.setattr(sys.modules["gmcn.ops.refine_em"], "PAIRS", pairs)
    for one, other in zip(whole, checks.run(refine(2), gmcn.ops, inputs(3)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_deterministic():
    checks.assert_deterministic(refine(2), inputs(3))


def test_strides_do_not_matter():
    checks.assert_strides_do_not_matter(refine(), inputs(3))


@pytest.mark.parametrize(("shape", "n", "components"), [((0, 3), 5, 33), ((), 1, 1), ((2,), 7, 3)])
def test_other_sizes(ops, shape, n, components):
    start, target = inputs(2, n, components, shape)
    refined = ops.refine_em(start, target)
    assert [tensor.shape for tensor in refined] == [tensor.shape for tensor in start]


def test_what_does_not_fit_is_named():
    start, target = inputs(3)
    with pytest.raises(ValueError, match=r"target.positions \[2, 33, 3\] and mixture.positions \[2, 3, 5, 3\]"):
        gmcn.ops.refine_em(start, target.map(lambda tensor: tensor[:, 0]))
    with pytest.raises(ValueError, match="steps must be a positive integer, got 0"):
        gmcn.ops.refine_em(start, target, 0)
    for samples in (-1, float("inf")):
        with pytest.raises(ValueError, match="virtual_samples must be a finite number that is not negative, got"):
            gmcn.ops.refine_em(start, target, virtual_samples=samples)
    with pytest.raises(ValueError, match="float32"):
        gmcn.ops.refine_em(start, Mixture(*(tensor.float() for tensor in target)))


@DIMS
@pytest.mark.parametrize("thin", [1e-2, 1e-3, 1e-4])
def test_thin_gaussians_keep_their_digits(dim, thin):
    """Spread over a space of size one, each as thin as that: float32 has no digits for second moments."""
    generator = torch.Generator().manual_seed(0)
    target = Mixture(
        torch.ones(1, 64, dtype=torch.float64),
        torch.rand(1, 64, dim, dtype=torch.float64, generator=generator),
        thin**2 * torch.eye(dim, dtype=torch.float64).expand(1, 64, dim, dim),
    )
    start = Mixture(*(tensor[:, ::2] for tensor in target))
    given = start.to(torch.float32), target.to(torch.float32)
    found = gmcn.ops.refine_em(*given)
    exact = gmcn.ops.refine_em(*(one.to(torch.float64) for one in given))
    torch.testing.assert_close(found.covariances, exact.covariances.float(), rtol=1e-6, atol=1e-6 * thin**2)
    assert torch.linalg.eigvalsh(found.covariances).min() > 0
