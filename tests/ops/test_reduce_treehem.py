"""TreeHEM: appendix D."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops
from gmcn import Mixture

from . import checks
from .workload import moments, random_mixture, transformed

DIMS = pytest.mark.parametrize("dim", [2, 3])
NODES = pytest.mark.parametrize("t", [1, 2, 3, 4])


def to(n, t=2):
    def operation(ops, mixture):
        return ops.reduce_treehem(mixture, n, t)

    return operation


def assert_same(one, other, **tolerances):
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, **tolerances)


@DIMS
@pytest.mark.parametrize(("components", "n", "t"), [(7, 3, 2), (33, 8, 2), (33, 16, 4), (100, 32, 2), (100, 9, 4)])
def test_budget(dim, components, n, t):
    checks.assert_budget(to(n, t), [random_mixture((2, 3), components, dim, positive=True)])


@DIMS
@NODES
@pytest.mark.parametrize("n", [1, 2, 3, 8, 15, 32])
def test_twin(dim, n, t):
    checks.assert_twins(to(n, t), [random_mixture((2, 2), 33, dim, positive=True)], tolerance=1e-9)


@DIMS
@pytest.mark.parametrize(("n", "t"), [(1, 2), (3, 2), (4, 2), (5, 4)])
def test_gradcheck(ops, dim, n, t):
    checks.assert_gradcheck(ops, to(n, t), [random_mixture((), 6, dim, positive=True, seed=3)])


@DIMS
@NODES
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 31, 32])
def test_conserves_moments_with_exactly_n_components(ops, dim, n, t):
    mixture = random_mixture((2, 2), 33, dim, positive=True)
    reduced = ops.reduce_treehem(mixture, n, t)
    assert reduced.components == n
    assert (reduced.weights > 0).all()
    for before, after in zip(moments(mixture), moments(reduced), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_two_distant_groups(ops):
    """Each becomes the Gaussian with its moments."""
    left = random_mixture((), 11, 3, positive=True, spread=0.5)
    right = transformed(random_mixture((), 6, 3, positive=True, spread=0.5, seed=4), shift=200.0)
    mixture = Mixture(*(torch.cat(pair) for pair in zip(left, right, strict=True)))
    reduced = ops.reduce_treehem(mixture, 2)
    for index, group in enumerate((left, right)):
        part = reduced.map(lambda tensor, index=index: tensor[index : index + 1])
        assert_same(moments(part), moments(group), rtol=1e-8, atol=1e-8)


@DIMS
def test_one_component_is_the_moment_match(ops, dim):
    mixture = random_mixture((2,), 21, dim, positive=True)
    assert_same(moments(ops.reduce_treehem(mixture, 1)), moments(mixture))


@DIMS
@NODES
def test_translation_scale_and_mass(ops, dim, t):
    mixture = random_mixture((2,), 33, dim, positive=True)
    heavier = mixture._replace(weights=64 * mixture.weights)
    # A power of two and a shift of a few units leave the cells of the Morton grid as they are.
    moved = ops.reduce_treehem(transformed(heavier, scale=8.0, shift=3.0), 8, t)
    reduced = ops.reduce_treehem(mixture, 8, t)
    expected = transformed(reduced._replace(weights=64 * reduced.weights), scale=8.0, shift=3.0)
    assert_same(moved, expected, rtol=1e-9, atol=1e-9)


@DIMS
@NODES
def test_order_of_components_does_not_matter(ops, dim, t):
    mixture = random_mixture((), 33, dim, positive=True)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    shuffled = ops.reduce_treehem(mixture.map(lambda tensor: tensor[order]), 8, t)
    assert_same(shuffled, ops.reduce_treehem(mixture, 8, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [7, 20])
@pytest.mark.parametrize("components", [1, 7])
def test_enough_components_stay(ops, n, components):
    mixture = random_mixture((2,), components, 3)
    for before, after in zip(mixture, ops.reduce_treehem(mixture, n), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 7])
def test_few_components_of_any_weight(ops, kept):
    """What is missing has weight 0, position 0 and the average variance; nothing is lost or not-a-number."""
    mixture = random_mixture((2,), 24, 3, positive=True)
    mixture.weights[:, kept:] = 0
    reduced = ops.reduce_treehem(mixture, 8)
    assert reduced.components == 8
    for before, after in zip(moments(mixture), moments(reduced), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert all(tensor.isfinite().all() for tensor in checks.run(to(8), ops, [mixture]))


def test_zero_mixture_is_padding(ops):
    mixture = random_mixture((), 24, 3)
    reduced = ops.reduce_treehem(mixture._replace(weights=0 * mixture.weights), 8)
    variance = mixture.covariances.diagonal(dim1=-2, dim2=-1).mean()
    assert (reduced.weights == 0).all()
    assert (reduced.positions == 0).all()
    torch.testing.assert_close(reduced.covariances, variance * torch.eye(3).double().expand(8, 3, 3))


@DIMS
def test_equal_centres(ops, dim):
    mixture = random_mixture((2,), 16, dim, positive=True)
    mixture = mixture._replace(positions=torch.ones_like(mixture.positions))
    for before, after in zip(moments(mixture), moments(ops.reduce_treehem(mixture, 4)), strict=True):
        torch.testing.assert_close(after, before)


@DIMS
def test_equal_morton_codes(dim):
    """All but one in the same cell: the tree follows the indices."""
    mixture = random_mixture((2,), 16, dim, positive=True)
    mixture.positions[:, 5] += 1e5
    checks.assert_twins(to(4), [mixture], tolerance=1e-9)


@DIMS
def test_thin_and_heavy_tailed(dim):
    """Likelihoods and responsibilities reach their clamps."""
    mixture = random_mixture((2,), 48, dim, positive=True, smallest=1e-4, largest=10.0, spread=10.0)
    mixture = mixture._replace(weights=mixture.weights**6)
    checks.assert_twins(to(12), [mixture], tolerance=1e-7)


def test_thin_and_dominant_in_float32(ops):
    """Its likelihood to the power of the virtual samples is beyond float32."""
    covariances = torch.eye(3).repeat(3, 1, 1)
    covariances[0] *= 1e-10
    mixture = Mixture(torch.tensor([1.0, 1e-3, 1e-3]), torch.eye(3), covariances)
    for tensor in checks.run(to(2), ops, [mixture], torch.float32):
        assert tensor.isfinite().all()


def test_parameters(ops):
    """The gate closes the way for a small threshold: fewer components are mixed."""
    mixture = random_mixture((), 33, 3, positive=True)
    open_gate = ops.reduce_treehem(mixture, 8, kl_threshold=1e9, virtual_samples=0.0)
    assert not torch.allclose(open_gate.positions, ops.reduce_treehem(mixture, 8).positions)
    assert_same(moments(open_gate), moments(mixture))


@pytest.mark.parametrize(("n", "t"), [(0, 2), (-1, 2), (2.0, 2), (4, 0), (4, 9)])
def test_bad_input(n, t):
    with pytest.raises(ValueError, match="got"):
        gmcn.ops.reduce_treehem(random_mixture((2,), 12, 3), n, t)


@pytest.mark.parametrize("options", [{"virtual_samples": float("inf")}, {"kl_threshold": float("nan")}])
def test_options_that_are_no_numbers(options):
    mixture = random_mixture((2,), 12, 3, positive=True)
    with pytest.raises(ValueError, match=r"must be a (finite )?number that is not negative, got"):
        gmcn.ops.reduce_treehem(mixture, 4, **options)
    reduced = gmcn.ops.reduce_treehem(mixture, 4, kl_threshold=float("inf"))
    assert all(tensor.isfinite().all() for tensor in reduced)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_bad_weights(weight):
    mixture = random_mixture((2,), 12, 3, positive=True)
    mixture.weights[1, 3] = weight
    with pytest.raises(RuntimeError, match=r"^reduce_treehem: mixture 1 .* has a negative weight"):
        gmcn.ops.reduce_treehem(mixture, 4)


def test_first_bad_mixture_of_many():
    mixture = random_mixture((300,), 12, 3, positive=True)
    mixture.weights[[299, 211, 257], 3] = -1.0
    with pytest.raises(RuntimeError, match=r"^reduce_treehem: mixture 211 "):
        gmcn.ops.reduce_treehem(mixture, 4)


@DIMS
@pytest.mark.parametrize(("components", "n", "t"), [(33, 8, 2), (33, 13, 4), (12, 1, 2), (2100, 9, 2)])
def test_mixtures_do_not_depend_on_their_neighbours(dim, components, n, t):
    """They are merged side by side, also with those whose distances overflow."""
    mixture = random_mixture((19,), components, dim, positive=True).to(torch.float32)
    mixture.weights[3:8] *= torch.rand(5, components, generator=torch.Generator().manual_seed(0)).round()
    mixture.positions[[4, 11]] *= 1e25
    upstream = random_mixture((19,), n, dim, seed=1).to(torch.float32)

    def both(part):
        given, gradients = mixture.map(lambda tensor: tensor[part]), upstream.map(lambda tensor: tensor[part])
        operations, options = torch.ops.gmcn, (n, t, 0.5, 4.0)
        return [
            *operations.reduce_treehem(*given, *options),
            *operations.reduce_treehem_backward(*gradients, *given, *options),
        ]

    together = both(slice(None))
    for b in range(19):
        for alone, all_of_them in zip(both(slice(b, b + 1)), together, strict=True):
            torch.testing.assert_close(alone[0], all_of_them[b], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_empty(ops, shape):
    assert ops.reduce_treehem(random_mixture(shape, 9, 3), 4).covariances.shape == (*shape, 4, 3, 3)


def test_determinism():
    checks.assert_deterministic(to(16), [random_mixture((2, 3), 65, 3, positive=True)])


def test_strides():
    checks.assert_strides_do_not_matter(to(4), [random_mixture((2,), 17, 2, positive=True)])


def test_no_second_derivative():
    checks.assert_no_second_derivative(to(4), [random_mixture((2,), 9, 3, positive=True)])


def test_opcheck():
    mixture = random_mixture((2,), 9, 3, positive=True).map(lambda tensor: tensor.float().requires_grad_())
    checks.opcheck("reduce_treehem", *mixture, 4, 2, 0.5, 4.0)


def test_opcheck_backward():
    mixture = random_mixture((2,), 9, 3, positive=True).to(torch.float32)
    gradients = random_mixture((2,), 4, 3).to(torch.float32)
    checks.opcheck("reduce_treehem_backward", *gradients, *mixture, 4, 2, 0.5, 4.0)
