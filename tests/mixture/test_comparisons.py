"""Distances between mixtures against grids, samples and single Gaussians, and exactly 0 where they are equal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import distributions
from torch.testing import assert_close

from gmcn import GaussianMixture
from gmcn.mixture import Diagonal, Full, LowRank, Mixture, overlap

from .workload import FAMILIES, build, density, parameters

DISTANCES = ("l2", "kl", "wasserstein")


def distance(name: str, first: GaussianMixture, second: GaussianMixture) -> torch.Tensor:
    return getattr(first, name)(second)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 12])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_equal_mixtures_have_no_distance_and_a_finite_gradient(name, family, dtype, dim, shape):
    leaves = [leaf.to(dtype).requires_grad_() for leaf in parameters(family, shape, 4, dim)]
    mixture = build(family, *leaves)
    found = distance(name, mixture, build(family, *(leaf.detach().clone() for leaf in leaves)))
    assert found.shape == shape
    assert (found == 0).all()
    gradients = [each for each in torch.autograd.grad(found.sum(), leaves, allow_unused=True) if each is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    if name != "kl":  # an approximation, which may be negative nearby
        assert all(gradient.abs().max() < 1e3 * torch.finfo(dtype).eps for gradient in gradients)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_ones_in_other_memory(name):
    mixture = density("low-rank", (3,), 4, 12).to(torch.float32)
    flipped = GaussianMixture.from_state_dict(mixture.state_dict())
    for field in ("logits", "means"):
        tensor = torch.empty(3 * getattr(mixture, field).numel() + 1)[1::3].view_as(getattr(mixture, field))
        object.__setattr__(flipped, field, tensor.copy_(getattr(mixture, field)))
    assert (distance(name, mixture, flipped) == 0).all()
    assert distance(name, mixture[1].expand(2), mixture[1]).tolist() == [0, 0]


@pytest.mark.parametrize("name", DISTANCES)
def test_a_component_of_weight_zero_has_no_part(name):
    logits, *rest = parameters("diagonal", (), 4, 3)
    logits[1] = -torch.inf
    leaves = [leaf.requires_grad_() for leaf in (logits, *rest)]
    mixture, other = build("diagonal", *leaves), density("full", seed=3)
    alive = build("diagonal", *(leaf[[0, 2, 3]] for leaf in leaves))
    assert_close(distance(name, mixture, other), distance(name, alive, other))
    assert_close(distance(name, other, mixture), distance(name, other, alive))
    assert_close(distance(name, mixture, alive), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12)
    total = distance(name, mixture, other) + distance(name, other, mixture)
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("first", FAMILIES)
@pytest.mark.parametrize("second", FAMILIES)
def test_families_and_numbers_of_components_may_differ(name, first, second):
    """The same numbers as of all covariances in full; leading dimensions broadcast."""

    def full(mixture: GaussianMixture) -> GaussianMixture:
        return GaussianMixture(mixture.logits, mixture.means, Full.from_dense(mixture.covariance.dense()))

    one, two = density(first, (2, 1), 3, 10), density(second, (3,), 5, 10, seed=7)
    found = distance(name, one, two)
    assert found.shape == (2, 3)
    assert_close(found, distance(name, full(one), full(two)), rtol=1e-7, atol=1e-10)
    assert_close(found[1, 2], distance(name, one[1, 0], two[2]), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("first", FAMILIES)
@pytest.mark.parametrize("second", ["diagonal", "low-rank", "full"])
def test_gradients_by_finite_differences(name, first, second):
    leaves = [leaf.requires_grad_() for leaf in (*parameters(first, (), 3, 2), *parameters(second, (), 4, 2, 5))]
    if name == "wasserstein":  # which has none for weights
        leaves[0].requires_grad_(False)
        leaves[len(parameters(first, (), 1, 1))].requires_grad_(False)
    count = len(parameters(first, (), 1, 1))

    def function(*tensors):
        return distance(name, build(first, *tensors[:count]), build(second, *tensors[count:]))

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("first", FAMILIES)
@pytest.mark.parametrize("second", FAMILIES)
def test_l2_is_the_integral_on_a_grid(first, second):
    one, two = density(first, (), 3, 2), density(second, (), 4, 2, seed=5)
    line = torch.linspace(-14, 14, 600, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    p, q = one.log_prob(grid).exp(), two.log_prob(grid).exp()
    cell = (line[1] - line[0]) ** 2
    assert_close(one.l2(two), (p - q).square().sum() * cell, rtol=1e-6, atol=1e-9)
    assert_close(one.l2(two, relative=True), (p - q).square().sum() / (p.square() + q.square()).sum())


@pytest.mark.parametrize("std", [0.01, 100.0])
def test_l2_beyond_the_range_of_floats(std):
    """In 800 dimensions an integral of p² is e^±2000: the relative distance is still a number."""
    covariance = Diagonal(torch.full((2, 800), std))
    one, two = (GaussianMixture(torch.zeros(2), torch.full((2, 800), at * std), covariance) for at in (0.0, 0.05))
    assert one.l2(one) == 0
    assert one.l2(two) == (torch.inf if std < 1 else 0)
    # exp(-|d|² / 4 std²) is the share of the product in the squares.
    assert_close(one.l2(two, relative=True), torch.tensor(1 - math.exp(-800 * 0.05**2 / 4)), rtol=1e-3, atol=0)
    means = torch.zeros(2, 800, requires_grad=True)
    equal = GaussianMixture(torch.zeros(2), means, covariance).l2(one)
    assert equal == 0
    assert torch.autograd.grad(equal, means)[0].isfinite().all()


@pytest.mark.parametrize("first", FAMILIES)
@pytest.mark.parametrize("second", FAMILIES)
def test_kl_of_single_components_is_that_of_torch(first, second):
    one, two = density(first, (3,), 1, 10), density(second, (3,), 1, 10, seed=5)
    parts = (distributions.MultivariateNormal(m.means[:, 0], m.covariance.dense()[:, 0]) for m in (one, two))
    assert_close(one.kl(two), distributions.kl_divergence(*parts), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("first", FAMILIES)
@pytest.mark.parametrize("second", FAMILIES)
def test_kl_is_that_of_the_formula(first, second):
    one, two = density(first, (), 3, 10), density(second, (), 4, 10, seed=5)

    def divergences(other: GaussianMixture) -> torch.Tensor:  # [N, N']
        p, q = (
            distributions.MultivariateNormal(m.means.unsqueeze(at), m.covariance.dense().unsqueeze(at))
            for m, at in ((one, 1), (other, 0))
        )
        return distributions.kl_divergence(p, q)

    ratio = (divergences(one).neg().exp() @ one.weights) / (divergences(two).neg().exp() @ two.weights)
    assert_close(one.kl(two), (one.weights * ratio.log()).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_of_components_far_apart_is_that_of_samples(family):
    logits, means, *rest = parameters(family, (), 3, 2)
    one, two = build(family, logits, 20 * means, *rest), density(family, (), 4, 2, seed=5)
    drawn = one.sample(50_000, torch.Generator().manual_seed(0))
    sampled = (one.log_prob(drawn) - two.log_prob(drawn)).mean()
    assert_close(one.kl(two), sampled, rtol=0.05, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bound_of_kl_is_above_samples_and_exact_for_single_components(family):
    first, second = density(family, (), 5, 2), density(family, (), 7, 2, seed=1)
    points = first.sample(200_000, torch.Generator().manual_seed(0))
    ratios = first.log_prob(points) - second.log_prob(points)
    bounds = [float(first.kl_bound(second, steps=steps)) for steps in (0, 1, 5, 20, 100)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] >= ratios.mean() - 4 * ratios.std() / math.sqrt(len(points))
    one, other = density(family, (), 1, 2), density(family, (), 1, 2, seed=1)
    assert_close(one.kl_bound(other), one.kl(other))


def test_the_bound_of_kl_with_weights_of_zero():
    first, second = density("full", (), 4, 3), density("full", (), 5, 3, seed=1)
    more = []
    for each in (first, second):
        weights, *rest = each.mixture()
        parts = (torch.cat([part, part[:1]]) for part in rest)
        more.append(GaussianMixture.from_mixture(Mixture(torch.cat([weights, weights.new_zeros(1)]), *parts)))
    assert_close(more[0].kl_bound(more[1]), first.kl_bound(second))
    with pytest.raises(ValueError, match="steps is -1"):
        first.kl_bound(second, -1)


def test_the_bound_of_kl_of_equal_mixtures_of_components_far_apart_is_nothing():
    mixture = density("full", (), 4, 3)
    apart = GaussianMixture(mixture.logits, 100 * mixture.means, mixture.covariance)
    assert abs(float(apart.kl_bound(apart, steps=100))) < 1e-9


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations_with_replacement(FAMILIES, 2)))
def test_the_overlap_is_the_integral_on_a_grid_the_same_both_ways(first, second):
    one, two = density(first, (), 3, 2), density(second, (), 5, 2, seed=1)
    edge = torch.linspace(-25, 25, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(edge, edge)
    integral = (one.log_prob(grid) + two.log_prob(grid)).exp().sum() * (edge[1] - edge[0]) ** 2
    found = overlap(one, two)
    assert_close(found, integral, rtol=1e-8, atol=0)
    assert torch.equal(found, overlap(two, one))


def test_the_overlap_of_many_and_its_gradient():
    one, two = density("full", (4, 1), 3, 3), density("diagonal", (2,), 5, 3, seed=1)
    found = overlap(one, two)
    assert found.shape == (4, 2)
    assert torch.equal(found, overlap(two, one))
    assert_close(found[1, 1], overlap(one[1, 0], two[1]))
    leaves = [leaf.requires_grad_() for leaf in parameters("full", (), 3, 3)]
    assert torch.autograd.gradcheck(lambda *parts: overlap(build("full", *parts), two[0]), leaves)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_wasserstein_is_the_least_over_all_plans(uniform, family):
    one, two = density(family, (2,), 3, 2), density(family, (2,), 3, 2, seed=5)
    if uniform:
        one, two = (GaussianMixture(torch.zeros(2, 3).double(), m.means, m.covariance) for m in (one, two))
    for a, b, found in zip((one[0], one[1]), (two[0], two[1]), one.wasserstein(two), strict=True):
        costs = torch.stack([a.bures(GaussianMixture(b.logits, *shifted(b, k))) for k in range(3)], -1)
        costs = torch.stack([costs[i, (torch.arange(3) - i) % 3] for i in range(3)])
        sides = np.concatenate((np.kron(np.eye(3), np.ones(3)), np.kron(np.ones(3), np.eye(3))))
        expected = scipy.optimize.linprog(
            costs.flatten().numpy(), A_eq=sides, b_eq=torch.cat((a.weights, b.weights)).numpy()
        )
        assert_close(float(found), expected.fun, rtol=1e-9, atol=1e-9)


def shifted(mixture: GaussianMixture, by: int):
    """Means and covariances with component i + by in place i."""
    order = (torch.arange(mixture.components) + by) % mixture.components
    covariance = object.__new__(type(mixture.covariance))
    for name, tensor in vars(mixture.covariance).items():
        object.__setattr__(covariance, name, tensor[order])
    return mixture.means[order], covariance


def test_wasserstein_of_single_components_and_of_other_orders():
    one, two = density("full", (2,), 1), density("low-rank", (2,), 1, seed=5)
    assert_close(one.wasserstein(two), one.bures(two)[..., 0])
    mixture, order = density("diagonal"), [3, 0, 4, 1, 2]
    other = GaussianMixture(mixture.logits[order], mixture.means[order], Diagonal(mixture.covariance.std[order]))
    assert_close(mixture.wasserstein(other), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12)
    nearly = GaussianMixture(mixture.logits, mixture.means + 1e-5, mixture.covariance)
    assert_close(mixture.wasserstein(nearly), torch.tensor(3e-10).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [1, 3, 10])
def test_entropy_lies_between_its_bounds(family, dim):
    mixture = density(family, (2,), 4, dim)
    drawn = mixture.sample(40_000, torch.Generator().manual_seed(0))
    values = -mixture.log_prob(drawn)
    lower, upper = mixture.entropy_bounds()
    error = 5 * values.std(-1) / 200
    assert (lower <= values.mean(-1) + error).all()
    assert (values.mean(-1) <= upper + error).all()
    assert (upper - lower < math.log(4) + dim * (1 - math.log(2)) / 2 + 1e-9).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_of_one_component_is_the_upper_bound(family):
    mixture = density(family, (3,), 1, 10)
    lower, upper = mixture.entropy_bounds()
    exact = distributions.MultivariateNormal(mixture.means[:, 0], mixture.covariance.dense()[:, 0]).entropy()
    assert_close(upper, exact)
    assert_close(upper - lower, torch.full((3,), 10 * (1 - math.log(2)) / 2, dtype=torch.float64))


@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_bounds_have_a_gradient(family):
    logits, *rest = parameters(family, (), 3, 2)
    leaves = [leaf.requires_grad_() for leaf in (logits, *rest)]
    assert torch.autograd.gradcheck(lambda *tensors: build(family, *tensors).entropy_bounds(), leaves)
    dead = [torch.cat((leaf, leaf[:1])).detach() for leaf in leaves]
    dead[0][3] = -torch.inf
    dead = [leaf.requires_grad_() for leaf in dead]
    for own, other in zip(build(family, *dead).entropy_bounds(), build(family, *leaves).entropy_bounds(), strict=True):
        assert_close(own, other)
        gradients = torch.autograd.grad(own, dead, retain_graph=True, allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
        assert gradients[0][3] == 0


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_some_components_at_a_time_give_the_same(name, family, monkeypatch):
    one, two = density(family, (2,), 5, 3), density(family, (2,), 4, 3, seed=5)
    expected = distance(name, one, two)
    monkeypatch.setattr("gmcn.mixture.pairs.SIZE", 500)
    assert_close(distance(name, one, two), expected)


def test_diagonal_and_low_rank_pairs_hold_nothing_of_all_dimensions_by_all():
    dim = 20_000  # D x D would be 1.5 GiB
    one, two = density("diagonal", (), 3, dim).to(torch.float32), density("low-rank", (), 2, dim, 5).to(torch.float32)
    assert one.kl(two).isfinite()
    assert one.l2(two, relative=True).isfinite()
    assert one.wasserstein(density("diagonal", (), 2, dim, 5).to(torch.float32)).isfinite()
    assert two.entropy_bounds()[0].isfinite()


def test_factors_that_explain_all_of_a_coordinate():
    one = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), Diagonal(torch.ones(1, 2)))
    two = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), LowRank(torch.full((1, 2), 1e-3), torch.eye(2)[None]))
    assert_close(one.kl(two), torch.tensor(0.0), rtol=0, atol=0.1)


ERRORS = {
    "the mixtures have 3 and 4 dimensions": lambda m, name: distance(name, m, density("full", dim=4)),
    "other .* must have the same dtype": lambda m, name: distance(name, m, m.to(torch.float32)),
    "do not broadcast: .* the other mixture": lambda m, name: distance(name, m.expand(2), m.expand(3)),
}


@pytest.mark.parametrize("sentence", ERRORS)
@pytest.mark.parametrize("name", DISTANCES)
def test_errors_are_one_sentence(sentence, name):
    with pytest.raises(ValueError, match=sentence):
        ERRORS[sentence](density("full"), name)


@pytest.mark.parametrize("shift", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_numbers_elsewhere_in_memory_are_equal(dtype, shift):
    """Products of matrices may round by where their numbers lie."""

    def moved(tensor):
        whole = torch.empty(tensor.numel() + shift, dtype=dtype)
        whole[shift:] = tensor.flatten()
        return whole[shift:].view(tensor.shape)

    generator = torch.Generator().manual_seed(shift)
    means, std = (torch.rand(25, 20, generator=generator, dtype=dtype) + 0.1 for _ in range(2))
    one = GaussianMixture(torch.zeros(25, dtype=dtype), means, Diagonal(std))
    other = GaussianMixture(moved(torch.zeros(25, dtype=dtype)), moved(means), Diagonal(moved(std)))
    assert one.kl(other) == 0
    assert one.l2(other) == 0
    assert one.wasserstein(other) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_one_equal_pair_among_others(family):
    """Whether a pair is equal does not depend on the others."""
    first, second = (density(family, (20,), 4, 6, seed=seed).to(torch.float32) for seed in (0, 1))
    both = GaussianMixture(
        torch.stack([first.logits, first.logits]),
        torch.stack([first.means, second.means]),
        type(first.covariance)(*(torch.stack([each, each]) for each in vars(first.covariance).values())),
    )
    found = both.kl(both[0])
    assert (found[0] == 0).all()
    assert (found[1] != 0).all()


@pytest.mark.parametrize("least", [1e-1, 1e-2, 1e-3, 1e-4])
def test_kl_of_a_thin_factor_analyser(least):
    """Its own variance is small where a factor explains nearly all of it."""
    zeros, means = torch.zeros(1), torch.zeros(1, 2)
    thin = GaussianMixture(zeros, means, LowRank(torch.tensor([[least, 1.0]]), torch.tensor([[[1.0], [0.0]]])))
    round_ = GaussianMixture(zeros, means, Diagonal(torch.ones(1, 2)))
    variance = 1 + least**2
    expected = (1 / variance - 1 + math.log(variance)) / 2
    assert_close(round_.kl(thin), torch.tensor(expected), rtol=1e-4, atol=1e-6)
