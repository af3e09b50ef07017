"""Densities of some coordinates, and of the others given these: against the density of all, and against samples."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gmcn import GaussianMixture
from gmcn.mixture import Diagonal, Full, LowRank

from .workload import FAMILIES, SHAPES, build, density, parameters, points

KEPT = {"full": Full, "diagonal": Diagonal, "frame": Full, "low-rank": LowRank}
DIMS = {2: [1], 3: [2, 0], 12: [7, 0, 3, 11, 4], 40: [*range(30, 2, -1)]}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", DIMS)
def test_density_is_that_of_some_coordinates_times_that_of_the_others(family, shape, dim):
    mixture, dims = density(family, shape, dim=dim), DIMS[dim]
    others = [place for place in range(dim) if place not in dims]
    x = points((4, *shape), 1, dim)
    marginal, conditional = mixture.marginal(dims), mixture.conditional(dims, x[..., 0, dims])
    assert type(marginal.covariance) is type(conditional.covariance) is KEPT[family]
    assert conditional.batch_shape == (4, *shape)
    assert (marginal.dim, conditional.dim) == (len(dims), len(others))
    assert_close(conditional.weights.sum(-1), torch.ones(4, *shape, dtype=torch.float64))
    values = marginal.log_prob(x[..., dims]) + conditional.log_prob(x[..., others])
    assert_close(values, mixture.log_prob(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_marginal_has_the_moments_in_the_order_asked_for(family):
    mixture, dims = density(family, (2,), dim=12), [5, -1, 0]
    mean, covariance = mixture.moments()
    own_mean, own_covariance = mixture.marginal(dims).moments()
    assert_close(own_mean, mean[..., dims])
    assert_close(own_covariance, covariance[..., dims, :][..., dims])
    assert_close(mixture.marginal(range(12)).covariance.dense(), mixture.covariance.dense())


@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_has_the_moments_of_samples_in_a_narrow_slab(family):
    mixture = density(family, dim=3)
    value = mixture.mean[1]
    drawn = mixture.sample(300_000, torch.Generator().manual_seed(0))
    drawn = drawn[(drawn[:, 1] - value).abs() < 0.05][:, [0, 2]]
    mean, covariance = mixture.conditional([1], value[None]).moments()
    assert len(drawn) > 2000
    deviations = covariance.diagonal().sqrt()
    assert ((drawn.mean(0) - mean).abs() < 5 * deviations / len(drawn) ** 0.5).all()
    assert ((drawn.mT.cov() - covariance).abs() < 0.15 * deviations[:, None] * deviations).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_leading_dimensions_broadcast(family, shape):
    mixture, values = density(family, shape, dim=12), points((2, 1), 1, 4)[..., 0, :]
    conditional = mixture.conditional([1, 5, 2, 8], values)
    assert conditional.batch_shape == (2, *(shape or (1,)))
    alone = (mixture[1] if shape else mixture).conditional([1, 5, 2, 8], values[1, 0])
    x = points((), 5, 8)
    assert_close(conditional[1, -1 if not shape else 1].log_prob(x), alone.log_prob(x))
    assert conditional.sample(3, torch.Generator()).shape == (*conditional.batch_shape, 3, 8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [3, 10])
def test_gradients_by_finite_differences(family, dim):
    values = points((), 2, 2)  # for two mixtures
    leaves = [leaf.requires_grad_() for leaf in (*parameters(family, (2,), 2, dim), values)]
    x = points((), 4, dim)

    def function(*tensors):
        mixture = build(family, *tensors[:-1])
        conditional = mixture.conditional([dim - 1, 0], tensors[-1])
        return conditional.log_prob(x[:, 2:]), conditional.mean, mixture.marginal([1, 0]).log_prob(x[:, :2])

    assert torch.autograd.gradcheck(function, leaves, fast_mode=dim == 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_and_a_component_of_weight_zero(family):
    logits, *rest = parameters(family, (), 5, 12)
    logits[2] = -torch.inf
    exact = build(family, logits, *rest).conditional([3, 9], torch.tensor([0.3, -0.2]).double())
    single = build(family, logits, *rest).to(torch.float32).conditional([3, 9], torch.tensor([0.3, -0.2]))
    x = points((), 5, 10)
    assert exact.weights[2] == single.weights[2] == 0
    assert_close(single.log_prob(x.float()).double(), exact.log_prob(x), rtol=1e-5, atol=1e-4)


def test_values_far_from_every_component():
    mixture = density("full", dim=3).to(torch.float32)
    conditional = mixture.conditional([0], torch.tensor([1e4]))
    assert_close(conditional.weights.sum(), torch.tensor(1.0))
    assert conditional.means.isfinite().all()


def test_low_rank_holds_nothing_of_all_dimensions_by_all():
    dim = 20_000  # D x D would be 1.5 GiB
    mixture = density("low-rank", (), 2, dim).to(torch.float32)
    conditional = mixture.conditional(range(0, dim, 2), mixture.mean[::2])
    assert conditional.covariance.factor.shape == (2, dim // 2, 2)


ERRORS = {
    r"different coordinates in -3 ... 2, at least one, got \[\]": lambda m: m.marginal([]),
    r"got \[0, -3\]": lambda m: m.marginal([0, -3]),
    r"got \[3\]": lambda m: m.conditional([3], torch.zeros(1).double()),
    r"values \[2\] of 1 of 3 coordinates": lambda m: m.conditional([1], torch.zeros(2).double()),
    "at least one coordinate left": lambda m: m.conditional([0, 1, 2], torch.zeros(3).double()),
    "values are not finite": lambda m: m.conditional([1], torch.full((1,), torch.nan).double()),
    "values .* must have the same": lambda m: m.conditional([1], torch.zeros(1)),
    "do not broadcast: .* values": lambda m: m.expand(2).conditional([1], torch.zeros(3, 1).double()),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        ERRORS[sentence](density("full"))


def test_regression_of_one_component_is_that_of_its_covariance():
    mixture = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), Full(torch.tensor([[[2.0, 0.0], [1.0, 3.0]]])))
    conditional = mixture.conditional([0], torch.tensor([[0.0], [4.0]]))
    assert_close(conditional.mean, torch.tensor([[0.0], [2.0]]))
    assert_close(conditional.covariance.dense(), torch.full((2, 1, 1, 1), 9.0))
