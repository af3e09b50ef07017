"""The modified EM of section 4.1."""

from __future__ import annotations

import pytest
import torch

from . import checks
from .workload import moments, random_mixture, random_rotation, transformed

DIMS = pytest.mark.parametrize("dim", [2, 3])


def to(n):
    def operation(ops, mixture):
        return ops.reduce_em(mixture, n)

    return operation


@DIMS
@pytest.mark.parametrize(("components", "n"), [(7, 1), (33, 7), (100, 32)])
def test_budget(dim, components, n):
    checks.assert_budget(to(n), [random_mixture((2, 3), components, dim, positive=True)])


@DIMS
def test_twin(dim):
    checks.assert_twins(to(8), [random_mixture((2, 3), 33, dim, positive=True)])


@DIMS
@pytest.mark.parametrize("n", [1, 5, 32])
def test_conserves_moments(ops, dim, n):
    """Where every component is likely under a selected one."""
    mixture = random_mixture((2,), 33, dim, positive=True, spread=0.3, smallest=0.5)
    for before, after in zip(moments(mixture), moments(ops.reduce_em(mixture, n)), strict=True):
        torch.testing.assert_close(after, before)


def test_starts_from_the_heaviest(ops):
    """Far from each other, the heaviest components are kept as they are and in the order of their weight."""
    # Small enough for densities above one: the clamps of the normalisers never act.
    mixture = random_mixture((), 12, 3, positive=True, spread=1e4, smallest=1e-3, largest=1e-2)
    heaviest = mixture.weights.sort(descending=True).indices[:5]
    reduced = ops.reduce_em(mixture, 5)
    torch.testing.assert_close(reduced.weights, mixture.weights[heaviest])
    torch.testing.assert_close(reduced.positions, mixture.positions[heaviest])
    torch.testing.assert_close(reduced.covariances, mixture.covariances[heaviest])


@DIMS
def test_moves_with_space(ops, dim):
    """Translations and rotations; its constants fix the scale."""
    mixture = random_mixture((2,), 33, dim, positive=True)
    motion = {"rotation": random_rotation(dim), "shift": 2.0}
    moved, expected = (
        ops.reduce_em(transformed(mixture, **motion), 8),
        transformed(ops.reduce_em(mixture, 8), **motion),
    )
    for one, other in zip(moved, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_order_of_components_does_not_matter(ops):
    mixture = random_mixture((), 33, 3, positive=True)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    shuffled, reduced = ops.reduce_em(mixture.map(lambda tensor: tensor[order]), 8), ops.reduce_em(mixture, 8)
    for one, other in zip(shuffled, reduced, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("n", [7, 20])
def test_enough_components_stay(ops, n):
    mixture = random_mixture((2,), 7, 3)
    for before, after in zip(mixture, ops.reduce_em(mixture, n), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("smallest", [1e-6, 1e-3])
def test_thin_components_in_float32(ops, smallest):
    """Likelihoods to the twentieth power would overflow."""
    mixture = random_mixture((2,), 20, 3, positive=True, smallest=smallest, largest=1.0)
    for tensor in checks.run(to(4), ops, [mixture], torch.float32):
        assert tensor.isfinite().all()


def test_zero_mixture(ops):
    mixture = random_mixture((2,), 9, 2)
    for tensor in checks.run(to(3), ops, [mixture._replace(weights=0 * mixture.weights)]):
        assert tensor.isfinite().all()


def test_empty(ops):
    assert ops.reduce_em(random_mixture((0, 2), 9, 3), 4).covariances.shape == (0, 2, 4, 3, 3)


def test_determinism():
    checks.assert_deterministic(to(8), [random_mixture((2, 3), 65, 3, positive=True)])


def test_strides():
    checks.assert_strides_do_not_matter(to(4), [random_mixture((2,), 17, 2, positive=True)])
