"""Densities against torch.distributions and scipy, by finite differences, at extremes, and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import distributions
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from gmcn import GaussianMixture, Mixture, ops
from gmcn.mixture import Diagonal, Frame, Full, LowRank
from gmcn.mixture.families import explaining_maps, quadratic_form

from .workload import DIMS, FAMILIES, SHAPES, build, density, parameters, points


def twin(mixture: GaussianMixture) -> distributions.MixtureSameFamily:
    """The same density in torch.distributions."""
    covariance, means = mixture.covariance, mixture.means
    if isinstance(covariance, LowRank):
        parts = distributions.LowRankMultivariateNormal(means, covariance.factor, covariance.std.square())
    elif isinstance(covariance, Diagonal):
        parts = distributions.Independent(distributions.Normal(means, covariance.std), 1)
    else:
        parts = distributions.MultivariateNormal(means, covariance.dense())
    return distributions.MixtureSameFamily(distributions.Categorical(logits=mixture.logits), parts)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", [1, 5])
def test_density_is_that_of_torch(family, shape, dim, n):
    mixture, x = density(family, shape, n, dim), points(shape, 6, dim)
    other = twin(mixture)
    if shape:
        expected = other.log_prob(x.movedim(-2, 0)).movedim(0, -1)
    else:
        expected = other.log_prob(x)
    assert_close(mixture.log_prob(x), expected, rtol=1e-10, atol=1e-10)
    assert_close(mixture.log_prob(x), mixture.component_log_prob(x).logsumexp(-1))
    assert_close(mixture.responsibilities(x).sum(-1), torch.ones(*shape, 6, dtype=torch.float64))
    assert_close(mixture.weights, other.mixture_distribution.probs)
    mean, covariance = mixture.moments()
    assert_close(mean, other.mean)
    assert_close(mixture.mean, other.mean)
    assert_close(covariance.diagonal(dim1=-2, dim2=-1), other.variance)
    assert_close(mixture.covariance.logdet(), torch.logdet(mixture.covariance.dense()), rtol=1e-8, atol=1e-8)
    assert mixture.log_prob(x[..., :0, :]).shape == (*shape, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_components_are_those_of_scipy(family):
    mixture, x = density(family, dim=3), points((), 6, 3)
    columns = [
        scipy.stats.multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy())
        for mean, covariance in zip(mixture.means, mixture.covariance.dense(), strict=True)
    ]
    expected = torch.as_tensor(np.stack(columns)).mT + mixture.logits
    assert_close(mixture.component_log_prob(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [3, 12])
def test_leading_dimensions_broadcast(family, dim):
    mixture, x = density(family, (3,), dim=dim), points((2, 1), 6, dim)
    assert_close(mixture.log_prob(x)[1, 2], mixture[2].log_prob(x[1, 0]))
    single = mixture[1]
    assert_close(single.log_prob(x), mixture[1:2].log_prob(x))
    assert single.log_prob(points((2, 0), 6, dim)).shape == (2, 0, 6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [2, 5])
def test_gradients_by_finite_differences(family, dim):
    leaves = [leaf.requires_grad_() for leaf in (*parameters(family, (2,), 3, dim), points((2,), 4, dim))]

    def function(*tensors):
        mixture = build(family, *tensors[:-1])
        return mixture.log_prob(tensors[-1]), *mixture.moments(), mixture.responsibilities(tensors[-1])

    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("family", FAMILIES)
def test_whiten_and_color_are_inverse(family):
    for dim in (3, 12):
        covariance, deltas = density(family, (2,), dim=dim).covariance, points((2, 5), 4, dim)
        white = covariance.whiten(deltas)
        assert white.shape[-1] == covariance.noise == covariance.root().shape[-1]
        assert_close(covariance.color(white), deltas)
        expected = (deltas * torch.linalg.solve(covariance.dense(), deltas.mT).mT).sum(-1)
        assert_close(white.square().sum(-1), expected)
        assert_close(covariance.full().dense(), covariance.dense())
        assert torch.equal(covariance.dense(), covariance.dense().mT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [3, 12])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_of_space_is_only_a_constant(family, dim, scale, dtype):
    mixture, x = density(family, dim=dim), points((), 6, dim)
    expected = mixture.log_prob(x) - dim * torch.tensor(scale, dtype=torch.float64).log()
    moved = mixture.transform(scale * torch.eye(dim, dtype=torch.float64)).to(dtype)
    assert type(moved.covariance) is type(mixture.covariance)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    assert_close(moved.log_prob((scale * x).to(dtype)).double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [3, 40])
def test_float32_far_from_the_origin(family, dim):
    exact = density(family, dim=dim).transform(torch.eye(dim, dtype=torch.float64), torch.full((dim,), 1000.0).double())
    single, x = exact.to(torch.float32), (1000 + points((), 50, dim)).float()
    exact = single.to(torch.float64)  # the same rounded parameters
    assert_close(single.log_prob(x).double(), exact.log_prob(x.double()), rtol=1e-5, atol=1e-3)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.untyped_storage().size() // tensor.element_size())
        return result


@pytest.mark.parametrize("family", ["diagonal", "low-rank"])
def test_memory_in_many_dimensions(family):
    m, n, dim = 90, 40, 200
    leaves, x = [leaf.requires_grad_() for leaf in parameters(family, (), n, dim)], points((), m, dim)
    with Largest() as largest:
        build(family, *leaves).log_prob(x).sum().backward()
    rank = 2 if family == "low-rank" else 0
    # Neither M N D nor N D²; the triangle of a low rank takes [N, D + R, R].
    assert largest.size <= max(m * n * max(rank, 1), (m + n * max(rank, 1)) * (dim + rank))


@pytest.mark.parametrize("shape", SHAPES)
def test_squared_distance_in_the_terms_of_an_expectation_step(shape):
    mixture, x = density("low-rank", shape, 4, 12), points(shape, 6, 12)
    std, factor = mixture.covariance.std, mixture.covariance.factor
    coefficients, constant = quadratic_form(std, mixture.means)
    squares = torch.cat((x.square(), x), -1) @ coefficients.mT + constant[..., None, :]
    deltas = x[..., None, :, :] - mixture.means[..., None, :]  # [..., N, M, D]
    assert_close(squares, (deltas / std[..., None, :]).square().sum(-1).mT)
    maps, small = explaining_maps(mixture.covariance)
    explained = deltas @ maps
    expected = torch.linalg.solve(mixture.covariance.dense(), deltas.mT).mT
    assert_close(squares - explained.square().sum(-1).mT, (deltas * expected).sum(-1).mT)
    assert_close(torch.linalg.solve_triangular(small.mT, explained.mT, upper=True).mT, expected @ factor)


def test_factors_far_larger_than_the_noise():
    std, factor = torch.full((1, 3), 1e-3), torch.tensor([[[1e3], [2e3], [0.0]]])
    mixture = GaussianMixture(torch.zeros(1), torch.zeros(1, 3), LowRank(std, factor))
    x = torch.tensor([[1e3, 2e3, 1e-3], [0.0, 0.0, 2e-3]])
    white = mixture.covariance.distances(x, mixture.means, mixture.means)
    assert_close(white, torch.tensor([[2.0], [4.0]]), rtol=0.1, atol=0)  # the point itself is rounded to 0.06 std


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [3, 12])
def test_component_of_weight_zero_changes_nothing(family, dim):
    logits, *rest = parameters(family, (), 5, dim)
    logits[2] = -torch.inf
    leaves, x = [leaf.requires_grad_() for leaf in (logits, *rest)], points((), 6, dim)
    mixture = build(family, *leaves)
    others = [0, 1, 3, 4]
    assert_close(mixture.log_prob(x), build(family, *(leaf[others] for leaf in leaves)).log_prob(x))
    merged = mixture.merge(torch.tensor([0, 0, 1, 2, 2]))
    drawn = mixture.sample(500, torch.Generator().manual_seed(0))
    loss = mixture.log_prob(x).sum() + sum(moment.sum() for moment in mixture.moments())
    loss = loss + merged.log_prob(x).sum() + drawn.sum() + mixture.responsibilities(x).square().sum()
    assert loss.isfinite()
    gradients = torch.autograd.grad(loss, leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][2] == 0
    assert merged.weights[1] == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [2, 3])
def test_mixture_and_density_agree_with_evaluate(family, dim):
    mixture, x = density(family, (2,), dim=dim), points((2,), 7, dim)
    values = ops.evaluate(mixture.mixture(), x)
    assert_close(values.log(), mixture.log_prob(x), rtol=1e-9, atol=1e-9)
    weighted = mixture.mixture()._replace(weights=3 * mixture.weights)
    again = GaussianMixture.from_mixture(weighted)
    assert_close(again.log_prob(x), mixture.log_prob(x))
    assert_close(ops.integrate(again.mixture()), torch.ones(2, dtype=torch.float64))


def test_density_of_a_mixture_with_a_weight_of_zero_has_a_gradient():
    weights = torch.tensor([0.0, 2.0, 1.0], requires_grad=True)
    density = GaussianMixture.from_mixture(Mixture(weights, torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2)))
    density.log_prob(torch.ones(4, 2)).sum().backward()
    assert weights.grad.isfinite().all()


def test_tensors_are_moved_detached_and_indexed():
    mixture = density("low-rank", (2, 3), dim=4)
    assert (mixture.batch_shape, mixture.components, mixture.dim) == ((2, 3), 5, 4)
    assert mixture.to(torch.float32).covariance.factor.dtype == torch.float32
    assert not build("full", *(p.requires_grad_() for p in parameters("full", (), 2, 2))).detach().means.requires_grad
    assert mixture[1].batch_shape == (3,)
    assert mixture[:, None, 1].batch_shape == (2, 1)
    assert torch.equal(mixture[1, 2].covariance.std, mixture.covariance.std[1, 2])
    assert torch.equal(mixture[mixture.means.new_tensor([[True] * 3, [False] * 3]).bool()].means, mixture.means[0])
    assert mixture[0, 0][None].expand(4).batch_shape == (4,)
    with pytest.raises(IndexError):
        mixture[0, 0, 0]


EYE = torch.eye(2).expand(3, 2, 2)
ERRORS = {
    "covariance must be Full": lambda: GaussianMixture(torch.zeros(3), torch.zeros(3, 2), EYE),
    r"means \[4, 2\] do not fit": lambda: GaussianMixture(torch.zeros(3), torch.zeros(4, 2), Full(EYE)),
    "at least one component": lambda: GaussianMixture(torch.zeros(0), torch.zeros(0, 2), Diagonal(torch.ones(0, 2))),
    "must have the same dtype": lambda: GaussianMixture(torch.zeros(3).double(), torch.zeros(3, 2), Full(EYE)),
    "must be float32 or float64": lambda: Diagonal(torch.ones(3, 2, dtype=torch.int64)),
    "must be a tensor": lambda: Diagonal([[1.0]]),
    "means are not finite": lambda: GaussianMixture(torch.zeros(3), torch.full((3, 2), torch.nan), Full(EYE)),
    "logits are not finite": lambda: GaussianMixture(torch.full((3,), torch.nan), torch.zeros(3, 2), Full(EYE)),
    "no component has": lambda: GaussianMixture(torch.full((3,), -torch.inf), torch.zeros(3, 2), Full(EYE)),
    r"Full.factor must be \[..., N, D, D\], got \[2, 2\]": lambda: Full(torch.eye(2)),
    r"lower triangular .* \(at \[0\]\)": lambda: Full(torch.ones(1, 2, 2)),
    "Full.factor is not finite": lambda: Full(torch.full((1, 2, 2), torch.nan)),
    "not positive definite": lambda: Full.from_dense(-EYE),
    "root of a covariance is singular": lambda: Full.from_root(torch.zeros(1, 2, 2)),
    "fewer columns than rows": lambda: Full.from_root(torch.ones(1, 2, 1)),
    "Diagonal.std must be positive": lambda: Diagonal(torch.zeros(3, 2)),
    "Frame.variances must be positive": lambda: Frame(EYE, torch.zeros(3, 2)),
    "Frame.axes must be orthonormal": lambda: Frame(2 * EYE, torch.ones(3, 2)),
    r"Frame.variances must be \[..., N, D\] to fit": lambda: Frame(EYE, torch.ones(3, 3)),
    r"LowRank.factor must be \[..., N, D, R\] to fit": lambda: LowRank(torch.ones(3, 2), torch.ones(3, 3, 1)),
    "LowRank.std must be positive": lambda: LowRank(-torch.ones(3, 2), torch.ones(3, 2, 1)),
    r"x must be \[..., M, 3\]": lambda: density("full").log_prob(points((), 4, 2)),
    "must have the same dtype and": lambda: density("full").log_prob(points((), 4, 3).float()),
    "do not broadcast: mixture": lambda: density("full", (2,)).log_prob(points((3,), 4, 3)),
    "has 2 or 3 dimensions": lambda: density("full", dim=4).mixture(),
    "no negative weights": lambda: GaussianMixture.from_mixture(Mixture(-torch.ones(3), torch.zeros(3, 2), EYE)),
    "all are 0": lambda: GaussianMixture.from_mixture(Mixture(torch.zeros(3), torch.zeros(3, 2), EYE)),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        ERRORS[sentence]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_rounds_nothing(family):
    """Names and numbers of what a program asks of a density, in 20 dimensions, where products are of matrices."""

    def asked() -> list[torch.Tensor]:
        turned = mixture.transform(torch.diag(torch.arange(1.0, 21)).flip(0))
        other = mixture.conditional([0, 3], x[0, :2])
        distances = [mixture.kl(other_one), mixture.l2(other_one), mixture.bures(other_one)]
        return [mixture.log_prob(x), mixture.mean, *mixture.moments(), turned.log_prob(x), other.means, *distances]

    mixture, other_one = (density(family, (), 3, 20, seed=seed).to(torch.float32) for seed in (0, 1))
    x = points((), 6, 20).float()
    expected = asked()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(one, two) for one, two in zip(asked(), expected, strict=True))
        assert mixture.merge(groups=torch.tensor([0, 0, 1])).means.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_vmap_over_means(family):
    mixture, x = density(family, (4,), 3, 5), points((), 6, 5)

    def values(logits, means):
        return GaussianMixture(logits, means, mixture[0].covariance).log_prob(x)

    found = torch.func.vmap(values)(mixture.logits, mixture.means)
    expected = torch.stack([values(*both) for both in zip(mixture.logits, mixture.means, strict=True)])
    assert_close(found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_matrix_that_is_singular_but_for_rounding(seed):
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(3, 2, generator=generator) @ torch.randn(2, 3, generator=generator)
    with pytest.raises(ValueError, match="the matrix is singular"):
        density("full", (), 2, 3).to(torch.float32).transform(flat)
    thin = torch.diag(torch.tensor([1.0, 1.0, 1e-5]))
    assert density("full", (), 2, 3).to(torch.float32).transform(thin).covariance.logdet().isfinite().all()


def test_groups_that_are_no_tensor():
    with pytest.raises(ValueError, match="groups must be a tensor of labels, got list"):
        density("full", (), 3, 2).merge([0, 0, 1])


@pytest.mark.parametrize("sizes", [(1.0, 1e-7), (1e9, 1.0)])
def test_axes_of_other_units_are_not_singular(sizes):
    density = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), Diagonal(torch.ones(1, 2)))
    variances = density.transform(torch.tensor(sizes).diag()).covariance.dense().diagonal(dim1=-2, dim2=-1)
    assert_close(variances, torch.tensor([sizes]).square(), rtol=1e-5, atol=0.0)
