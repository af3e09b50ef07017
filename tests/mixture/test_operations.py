"""Operations on densities: sample, transform, merge, compare."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gmcn import GaussianMixture
from gmcn.mixture import Diagonal, Frame, Full, LowRank

from .workload import DIMS, FAMILIES, SHAPES, build, density, parameters, points, rotation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(), (2,)])
def test_samples_have_the_moments(family, shape):
    mixture = density(family, shape, dim=3)
    drawn = mixture.sample(40_000, generator())
    mean, covariance = mixture.moments()
    assert drawn.shape == (*shape, 40_000, 3)
    deviations = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((drawn.mean(-2) - mean).abs() <= 5 * deviations / 200).all()
    centred = drawn - mean[..., None, :]
    second = centred.mT @ centred / 40_000
    spread = deviations[..., :, None] * deviations[..., None, :]
    assert ((second - covariance).abs() <= 0.05 * spread).all()
    shares = mixture.responsibilities(drawn).mean(-2)  # its expectation is the weights
    assert_close(shares, mixture.weights, rtol=0, atol=0.015)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_a_function_of_the_generator(family):
    mixture = density(family, (2,))
    assert torch.equal(mixture.sample(7, generator()), mixture.sample(7, generator()))
    assert not torch.equal(mixture.sample(7, generator()), mixture.sample(7, generator(1)))
    assert_close(
        mixture.to(torch.float32).sample(7, generator()).double(), mixture.sample(7, generator()), rtol=1e-4, atol=1e-5
    )
    assert mixture.sample(0, generator()).shape == (2, 0, 3)


def test_component_of_weight_zero_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    means = 100 * torch.arange(5.0)[:, None]
    drawn = GaussianMixture(logits, means, Diagonal(torch.ones(5, 1))).sample(1000, generator())
    assert set((drawn / 100).round().flatten().tolist()) == {1.0, 3.0}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", DIMS)
def test_transform_changes_densities_by_the_determinant(family, dim):
    mixture, x = density(family, (2,), dim=dim), points((2,), 6, dim)
    shift = points((2,), 1, dim, seed=3)[..., 0, :]
    turned = rotation((2,), dim)
    scaled = torch.eye(dim, dtype=torch.float64).flip(0) * torch.linspace(-2, 3, dim, dtype=torch.float64).add(0.01)
    kept = {"full": Full, "diagonal": Diagonal, "frame": Frame, "low-rank": LowRank}[family]
    maps = {
        "rotation": (turned, kept if family == "frame" or dim == 1 else Full),
        "similarity": (0.3 * turned, kept if family == "frame" or dim == 1 else Full),
        "axes": (scaled, kept if family != "frame" or dim == 1 else Full),
        "any": (turned @ scaled @ rotation((2,), dim, 5), kept if dim == 1 else Full),
    }
    for matrix, expected in maps.values():
        moved = mixture.transform(matrix, shift)
        assert type(moved.covariance) is expected
        values = moved.log_prob(x @ matrix.mT + shift[:, None])
        assert_close(values, mixture.log_prob(x) - torch.linalg.slogdet(matrix)[1][..., None], rtol=1e-9, atol=1e-9)
        assert_close(moved.mean, (matrix @ mixture.mean[..., None])[..., 0] + shift)


def test_almost_a_rotation_is_none():
    sheared = torch.eye(3)
    sheared[0, 1] = 1e-4
    mixture, x = density("frame").to(torch.float32), points((), 6, 3).float()
    moved = mixture.transform(sheared)
    assert isinstance(moved.covariance, Full)
    assert_close(moved.log_prob(x @ sheared.mT), mixture.log_prob(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_transform_broadcasts_and_has_a_gradient(family):
    leaves, angle = parameters(family, (), 3, 2), torch.tensor(0.3, dtype=torch.float64)
    inputs = [leaf.requires_grad_() for leaf in (*leaves, angle)]
    x = points((), 4, 2)

    def function(*tensors):
        cos, sin = tensors[-1].cos(), tensors[-1].sin()
        matrix = torch.stack((cos, -sin, sin, cos)).unflatten(0, (2, 2))
        return build(family, *tensors[:-1]).transform(matrix, tensors[-1].expand(2)).log_prob(x)

    assert torch.autograd.gradcheck(function, inputs)
    moved = density(family, dim=2).transform(rotation((4, 1), 2), torch.zeros(3, 2, dtype=torch.float64))
    assert moved.batch_shape == (4, 3)
    assert_close(moved[1, 2].log_prob(x), moved[1, 0].log_prob(x))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [1, 3, 12])
def test_merge_keeps_the_moments(family, shape, dim):
    mixture = density(family, shape, dim=dim)
    merged = mixture.merge(torch.tensor([1, 0, 1, 2, 0]))
    assert merged.components == 3
    for one, other in zip(merged.moments(), mixture.moments(), strict=True):
        assert_close(one, other)
    assert_close(merged.weights[..., 2], mixture.weights[..., 3])
    assert_close(merged.means[..., 2, :], mixture.means[..., 3, :])
    assert_close(mixture.merge(torch.arange(5)).covariance.dense(), mixture.covariance.dense())


def test_merge_with_groups_of_its_own_for_each_mixture():
    mixture, groups = density("full", (2,)), torch.tensor([[0, 0, 1, 1, 1], [1, 0, 0, 1, 0]])
    merged = mixture.merge(groups)
    for place in range(2):
        assert_close(merged[place].means, mixture[place].merge(groups[place]).means)


@pytest.mark.parametrize("family", FAMILIES)
def test_merge_has_a_gradient(family):
    leaves = [leaf.requires_grad_() for leaf in parameters(family, (), 3, 2)]
    groups = torch.tensor([0, 1, 0])
    assert torch.autograd.gradcheck(
        lambda *tensors: build(family, *tensors).merge(groups).log_prob(points((), 3, 2)), leaves
    )


def square_root(matrices: torch.Tensor) -> torch.Tensor:
    values, axes = torch.linalg.eigh(matrices)
    return axes * values.clamp(min=0).sqrt()[..., None, :] @ axes.mT


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("other", FAMILIES)
@pytest.mark.parametrize("dim", [1, 3, 12])
def test_bures_is_the_distance_of_optimal_transport(family, other, dim):
    first, second = density(family, (2,), dim=dim), density(other, (), dim=dim, seed=4)
    one, two = first.covariance.dense(), second.covariance.dense()
    root = square_root(one)
    cross = square_root(root @ two @ root)
    traces = sum(
        scale * matrix.diagonal(dim1=-2, dim2=-1).sum(-1) for scale, matrix in ((1, one), (1, two), (-2, cross))
    )
    expected = (first.means - second.means).square().sum(-1) + traces
    assert_close(first.bures(second), expected, rtol=1e-6, atol=1e-9)
    assert_close(second.bures(first), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_bures_of_equal_ones_is_zero_with_a_gradient(family, dtype):
    leaves = [leaf.to(dtype).requires_grad_() for leaf in parameters(family, (), 3, 4)]
    mixture = build(family, *leaves)
    distance = mixture.bures(build(family, *(leaf.detach().clone() for leaf in leaves)))
    assert (distance == 0).all()
    for gradient in torch.autograd.grad(distance.sum(), leaves[1:]):
        assert (gradient == 0).all()
    # The same covariances in other parameters: nothing is lost in float32 either.
    full = GaussianMixture(mixture.logits, mixture.means, mixture.covariance.full())
    assert mixture.bures(full).abs().max() < 1e3 * torch.finfo(dtype).eps ** 2


@pytest.mark.parametrize("family", FAMILIES)
def test_bures_has_a_gradient(family):
    leaves = [leaf.requires_grad_() for leaf in parameters(family, (), 3, 3)]
    other = density(family, n=3, seed=9)
    assert torch.autograd.gradcheck(lambda *tensors: build(family, *tensors).bures(other), leaves)


ERRORS = {
    r"matrix \[2, 2\] and translation \[3\] do not fit": lambda m: m.transform(torch.eye(2).double()),
    "do not broadcast: .* matrix": lambda m: m.expand(4).transform(torch.eye(3).double().expand(2, 3, 3)),
    "matrix .* and mixture .* must have the same": lambda m: m.transform(torch.eye(3)),
    "singular": lambda m: m.transform(torch.zeros(3, 3).double()),
    r"groups must be integers \[5\]": lambda m: m.merge(torch.zeros(4, dtype=torch.int64)),
    "groups must be integers": lambda m: m.merge(torch.zeros(5)),
    "groups must not be negative": lambda m: m.merge(-torch.ones(5, dtype=torch.int64)),
    r"a group has no component.*\(at \[1\]\)": lambda m: m.merge(torch.tensor([0, 0, 2, 2, 0])),
    "no common components": lambda m: m.bures(density("full", n=4)),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        ERRORS[sentence](density("full"))
