"""Augmentation is exact: what is done to a mixture is what fitting the augmented points would have given."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmcn.data.augmentation import (
    Augmentation,
    affine,
    augment,
    axis_rotations,
    centre_and_deviation,
    drop,
    uniform_rotations,
)
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import Mixture
from gmcn.ops import reference

EVERYTHING = Augmentation("any", 180.0, (0.5, 2.0), 0.3, (0,), 0.2)
seeds = st.integers(0, 2**32 - 1)
dims = st.sampled_from([2, 3])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mixture(shape: tuple[int, ...], dim: int, seed: int = 0, dtype=torch.float64) -> Mixture:
    source = generator(seed)
    factors = torch.randn(*shape, dim, dim, generator=source, dtype=torch.float64)
    covariances = factors @ factors.mT + 0.1 * torch.eye(dim)
    weights = 0.1 + torch.rand(*shape, generator=source, dtype=torch.float64)
    return Mixture(weights, torch.randn(*shape, dim, generator=source, dtype=torch.float64), covariances).to(dtype)


def random_map(shape: tuple[int, ...], dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Any affine map that is far from singular: two rotations, factors of either sign between them, and a shift."""
    source = generator(seed)
    turns = torch.rand(2, *shape, 3, generator=source, dtype=torch.float64)
    first, second = uniform_rotations(turns) if dim == 3 else axis_rotations(2 * math.pi * turns[..., 0], 2)
    factors = (0.5 + torch.rand(*shape, dim, generator=source)) * (-1.0) ** torch.randint(
        2, (*shape, dim), generator=source
    )
    shift = torch.randn(*shape, dim, generator=source, dtype=torch.float64)
    return first * factors[..., None, :] @ second, shift


def cluster_moments(points: torch.Tensor, assignment: torch.Tensor, n: int) -> Mixture:
    """Weights, means and covariances of the clusters that points [M, D] are assigned to, written as loops."""
    parts = [points[assignment == cluster] for cluster in range(n)]
    means = torch.stack([part.mean(0) for part in parts])
    covariances = torch.stack([(part - part.mean(0)).mT @ (part - part.mean(0)) / len(part) for part in parts])
    return Mixture(torch.tensor([len(part) for part in parts], dtype=points.dtype) / len(points), means, covariances)


def assert_close(result: Mixture, expected: Mixture, tolerance: float) -> None:
    for name, found, wanted in zip(Mixture._fields, result, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@settings(max_examples=30, deadline=None)
@given(seeds, dims)
def test_values_move_with_the_points(seed, dim):
    mixture = random_mixture((3, 7), dim, seed)
    matrix, shift = random_map((3,), dim, seed)
    points = 2 * torch.randn(3, 11, dim, generator=generator(seed), dtype=torch.float64)
    values = reference.evaluate(mixture, points)
    moved = reference.evaluate(affine(mixture, matrix, shift), points @ matrix.mT + shift[:, None])
    torch.testing.assert_close(moved * matrix.det().abs()[:, None], values, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seeds, dims)
def test_moments_of_moved_points_are_the_moved_moments(seed, dim):
    points = torch.randn(60, dim, generator=generator(seed), dtype=torch.float64)
    assignment = torch.arange(60) % 6
    matrix, shift = random_map((), dim, seed)
    moved = cluster_moments(points @ matrix.mT + shift, assignment, 6)
    assert_close(affine(cluster_moments(points, assignment, 6), matrix, shift), moved, 1e-12)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kind", ["rotation", "reflection", "translation"])
def test_refitting_moved_points_gives_the_moved_fit(kind, dim):
    """Maps that keep distances keep farthest points and cells; the floor is too small to show its direction."""
    points = torch.randn(4, 200, dim, generator=generator(1), dtype=torch.float64)
    matrix, shift = torch.eye(dim, dtype=torch.float64).expand(4, dim, dim), torch.zeros(4, dim, dtype=torch.float64)
    if kind == "rotation":
        turns = torch.rand(4, 3, generator=generator(2), dtype=torch.float64)
        matrix = uniform_rotations(turns) if dim == 3 else axis_rotations(2 * math.pi * turns[:, 0], 2)
        assert not torch.allclose(matrix, torch.eye(dim, dtype=torch.float64), atol=0.1)
    elif kind == "reflection":
        matrix = torch.diag(torch.tensor([-1.0] + [1.0] * (dim - 1), dtype=torch.float64)).expand(4, dim, dim)
    else:
        shift = torch.randn(4, dim, generator=generator(2), dtype=torch.float64)

    def fit(points: torch.Tensor) -> Mixture:
        return fit_points(points, 12, "fps", covariance_floor=1e-12)

    assert_close(fit(points @ matrix.mT + shift[:, None]), affine(fit(points), matrix, shift), 1e-9)


@settings(max_examples=30, deadline=None)
@given(seeds, dims, st.sampled_from(["none", "axis", "any"]), st.lists(st.integers(0, 1), unique=True))
def test_augmenting_a_mixture_is_augmenting_its_points(seed, dim, rotation, reflection):
    """The map that was drawn is found from the positions; it then also has to explain the covariances."""
    mixture = random_mixture((5, 9), dim, seed)
    augmentation = Augmentation(rotation, 180.0, (0.5, 2.0), 0.3, tuple(reflection))
    result = augment(mixture, augmentation, generator(seed))
    homogeneous = torch.cat([mixture.positions, torch.ones(5, 9, 1, dtype=torch.float64)], -1)
    solution = torch.linalg.lstsq(homogeneous, result.positions).solution
    matrix, shift = solution[:, :dim].mT, solution[:, dim]
    assert_close(result, affine(mixture, matrix, shift), 1e-9)
    scales = torch.linalg.svdvals(matrix)
    assert scales.min() >= 0.5 - 1e-9
    assert scales.max() <= 2 + 1e-9
    assert reflection or (matrix.det() > 0).all()
    centre, deviation = centre_and_deviation(mixture)
    steps = (centre_and_deviation(result)[0] - centre) / deviation[:, None]
    assert steps.abs().max() <= 0.3 + 1e-9
    assert torch.equal(result.weights, mixture.weights)
    assert torch.equal(result.covariances, result.covariances.mT)


def test_each_setting_changes_what_it_says_and_nothing_else():
    mixture = random_mixture((200, 6), 3)
    centre, deviation = centre_and_deviation(mixture)

    def linear(**setting):
        result = augment(mixture, Augmentation(**setting), generator())
        moved = centre_and_deviation(result)[0]
        relative = mixture.positions - centre[:, None], result.positions - moved[:, None]
        return torch.linalg.lstsq(*relative).solution.mT, (moved - centre) / deviation[:, None]

    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    turned, still = linear(rotation="axis", rotation_degrees=30)
    torch.testing.assert_close(turned[:, 2], identity[:, 2])
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert angles.abs().max() <= 30
    assert angles.min() < -27
    assert angles.max() > 27
    assert still.abs().max() < 1e-12
    stretched, _ = linear(scaling=(0.5, 2.0))
    factors = stretched.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(stretched, torch.diag_embed(factors))
    # Uniform in the logarithm: mean 0, variance a third of log(2)²; 600 draws.
    assert factors.log2().mean().abs() < 5 / math.sqrt(3 * 600)
    assert factors.log2().square().mean() == pytest.approx(1 / 3, abs=0.07)
    unturned, steps = linear(translation=0.5)
    torch.testing.assert_close(unturned, identity)
    assert 0.45 < steps.abs().max() <= 0.5
    mirrored, _ = linear(reflection=(0, 2))
    signs = mirrored.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(mirrored, torch.diag_embed(signs.sign()))
    assert (signs[:, 1] > 0).all()
    assert (signs < 0).double().mean(0)[[0, 2]].tolist() == pytest.approx([0.5, 0.5], abs=5 * 0.5 / math.sqrt(200))
    # What one setting draws does not depend on the others.
    together, steps_together = linear(rotation="axis", rotation_degrees=30, translation=0.5, reflection=(0, 2))
    torch.testing.assert_close(together, turned @ mirrored)
    torch.testing.assert_close(steps_together, steps)


def test_uniform_rotations_are_rotations_and_uniform():
    count = 20000
    matrices = uniform_rotations(torch.rand(count, 3, generator=generator(), dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-14)
    torch.testing.assert_close(matrices.det(), torch.ones(count, dtype=torch.float64), rtol=0, atol=1e-14)
    # An entry is uniform on [-1, 1]: mean 0, variance 1/3; its square has mean 1/3 and variance 4/45. Five sigma.
    assert matrices.mean(0).abs().max() < 5 * math.sqrt(1 / 3 / count)
    assert (matrices.square().mean(0) - 1 / 3).abs().max() < 5 * math.sqrt(4 / 45 / count)
    # The trace is 1 + 2 cos(angle), of mean 0 and variance 1; and a fixed rotation on top changes nothing.
    traces = (matrices @ axis_rotations(torch.tensor(1.0, dtype=torch.float64), 3)).diagonal(dim1=1, dim2=2).sum(1)
    assert traces.mean().abs() < 5 / math.sqrt(count)
    assert traces.square().mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rotation", ["axis", "any"])
def test_rotations_in_the_plane_are_uniform(rotation):
    # Two components on the x axis: the direction from one to the other is the rotation's first column.
    count = 20000
    positions = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64).expand(count, 2, 2)
    mixture = Mixture(torch.ones(count, 2).double(), positions, torch.eye(2).double().expand(count, 2, 2, 2))
    turned = augment(mixture, Augmentation(rotation), generator()).positions[:, 1]
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(count, dtype=torch.float64))
    assert turned.mean(0).abs().max() < 5 * math.sqrt(1 / 2 / count)
    assert (turned.square().mean(0) - 1 / 2).abs().max() < 5 * math.sqrt(1 / 8 / count)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 12), st.floats(0, 1, exclude_max=True), st.booleans())
def test_dropping_keeps_the_total_and_a_component(seed, n, probability, signed):
    mixture = random_mixture((8, n), 2, seed)
    if signed:
        mixture = mixture._replace(weights=torch.randn(8, n, generator=generator(seed), dtype=torch.float64))
    uniform = torch.rand(8, n, generator=generator(seed), dtype=torch.float64)
    result = drop(mixture, probability, uniform)
    left = result.weights != 0
    assert left.any(-1).all()
    assert (left >= (uniform >= probability)).all()
    torch.testing.assert_close(result.weights.abs().sum(-1), mixture.weights.abs().sum(-1))
    ratios = (result.weights / mixture.weights).where(left, -torch.inf).amax(-1, keepdim=True)
    torch.testing.assert_close(result.weights, torch.where(left, mixture.weights * ratios, 0))
    assert torch.equal(result.positions, mixture.positions)
    assert torch.equal(result.covariances, mixture.covariances)


def test_dropping_takes_the_expected_share():
    mixture = random_mixture((2000, 3), 2)
    result = augment(mixture, Augmentation(dropping=0.6), generator())
    # All three are dropped with probability p³, and then one of them is not.
    share = 1 - 0.6 + 0.6**3 / 3
    assert (result.weights != 0).double().mean() == pytest.approx(share, abs=5 * 0.5 / math.sqrt(6000))
    torch.testing.assert_close(result.weights.sum(-1), mixture.weights.sum(-1))


def test_dropping_never_leaves_only_components_without_weight():
    weights = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    mixture = random_mixture((2, 3), 2, dtype=torch.float32)._replace(weights=weights)
    assert torch.equal(drop(mixture, 0.9, torch.tensor([[0.8, 0.1, 0.95]]).expand(2, 3)).weights, weights)


def test_same_generator_same_augmentation_and_each_shape_its_own():
    one = random_mixture((1, 6), 3)
    mixture = one.map(lambda tensor: tensor.expand(4, *tensor.shape[1:]))
    first, again = (augment(mixture, EVERYTHING, generator(5)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    other = augment(mixture, EVERYTHING, generator(6))
    assert not torch.equal(first.positions, other.positions)
    assert len({tuple(row.flatten().tolist()) for row in first.positions}) == 4
    single = augment(mixture.to(torch.float32), EVERYTHING, generator(5))
    assert single.positions.dtype == torch.float32
    assert_close(single.to(torch.float64), first, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_augmentation_on_the_gpu():
    mixture = random_mixture((4, 6), 3)
    result = augment(mixture.to("cuda"), EVERYTHING, generator(5))
    assert result.positions.is_cuda
    assert_close(result.to("cpu"), augment(mixture, EVERYTHING, generator(5)), 1e-12)


def test_thin_covariances_stay_positive_definite():
    thin = torch.diag(torch.tensor([1.0, 1e-5, 1e-5])).expand(500, 4, 3, 3)
    mixture = random_mixture((500, 4), 3, dtype=torch.float32)._replace(covariances=thin)
    once = augment(mixture, Augmentation("any"), generator())
    again = augment(once, Augmentation("any", scaling=(0.5, 2)), generator(1))
    assert (torch.linalg.cholesky_ex(again.covariances).info == 0).all()
    smallest = torch.linalg.eigvalsh(once.covariances.double())[..., 0]
    assert smallest.min() > 0.9e-5


def test_nothing_switched_on_returns_the_mixture_itself():
    mixture = random_mixture((4, 6), 3)
    assert augment(mixture, Augmentation(), generator()) is mixture


def test_affine_broadcasts_and_refuses_other_sizes():
    mixture = random_mixture((6,), 3)
    many = affine(mixture, *random_map((5,), 3, 0))
    assert [tuple(tensor.shape) for tensor in many] == [(5, 6), (5, 6, 3), (5, 6, 3, 3)]
    shift = torch.tensor([1.0, 0.0, 0.0])
    moved = affine(mixture, torch.eye(3), shift)
    assert_close(moved, mixture._replace(positions=mixture.positions + shift), 1e-15)
    with pytest.raises(InputError, match=r"matrix \[2, 2\] and shift \[3\] do not fit .* expected \[..., 3, 3\]"):
        affine(mixture, torch.eye(2), torch.zeros(3))
    with pytest.raises(InputError, match=r"shift \[2\] do not fit a mixture with positions \[6, 3\]"):
        affine(mixture, torch.eye(3), torch.zeros(2))
    with pytest.raises(InputError, match="do not fit"):
        affine(random_mixture((4, 6), 3), torch.eye(3).expand(5, 3, 3), torch.zeros(3))
