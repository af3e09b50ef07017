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
    uniform_rotations,
)
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import Mixture
from gmcn.ops import reference

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
    mixture = cluster_moments(points, assignment, 6)
    assert_close(affine(mixture, matrix, shift), moved, 1e-12)
    centre, deviation = centre_and_deviation(mixture)
    torch.testing.assert_close(centre, points.mean(0))
    torch.testing.assert_close(deviation, points.var(0, correction=0).mean().sqrt())


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


def test_thin_covariances_stay_positive_definite():
    thin = torch.diag(torch.tensor([1.0, 1e-5, 1e-5])).expand(500, 4, 3, 3)
    mixture = random_mixture((500, 4), 3, dtype=torch.float32)._replace(covariances=thin)
    once = augment(mixture, Augmentation("any"), generator())
    again = augment(once, Augmentation("any", scaling=(0.5, 2)), generator(1))
    assert (torch.linalg.cholesky_ex(again.covariances).info == 0).all()
    smallest = torch.linalg.eigvalsh(once.covariances.double())[..., 0]
    assert smallest.min() > 0.9e-5


@pytest.mark.parametrize("shape", ["cloud", "mixture"])
def test_a_scaled_shape_keeps_its_size(shape):
    mixture = random_mixture((7, 40), 3, 2)
    inputs = mixture if shape == "mixture" else mixture.positions
    varied = augment(inputs, Augmentation("any", scaling=(0.5, 2), reflection=(1,), keep_size=True), generator())
    free = augment(inputs, Augmentation("any", scaling=(0.5, 2), reflection=(1,)), generator())

    def size(inputs):
        whole = (
            inputs
            if isinstance(inputs, Mixture)
            else Mixture(torch.ones(7, 40, dtype=torch.float64), inputs, mixture.covariances)
        )
        centre = centre_and_deviation(whole)[0]
        return (whole.positions - centre[:, None]).norm(dim=-1).amax(-1)

    torch.testing.assert_close(size(varied), size(inputs), rtol=1e-12, atol=1e-12)
    assert (size(free) / size(inputs) - 1).abs().max() > 0.1


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
