"""Merging into components of low rank, against the merge of covariances in full."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gmcn import GaussianMixture
from gmcn.mixture import LowRank

from .workload import SHAPES, build, density, parameters, points

GROUPS = torch.tensor([1, 0, 1, 2, 0])


@pytest.mark.parametrize("family", ["diagonal", "low-rank"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dim", [1, 3, 12, 100])
def test_merge_is_exact_where_the_rank_suffices(family, shape, dim):
    mixture = density(family, shape, dim=dim)
    merged, error = mixture.merge_low_rank(GROUPS, rank=6)  # two components of two factors, and their means
    full = mixture.merge(GROUPS)
    assert isinstance(merged.covariance, LowRank)
    assert merged.covariance.rank == 6
    assert error.shape == (*shape, 3)
    assert (error < 1e-13).all()
    assert_close(merged.weights, full.weights)
    assert_close(merged.means, full.means)
    assert_close(merged.covariance.dense(), full.covariance.dense())
    single, error = mixture.to(torch.float32).merge_low_rank(GROUPS, rank=6)
    assert (error < 1e-5).all()
    assert_close(single.covariance.dense().double(), full.covariance.dense(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["diagonal", "low-rank"])
@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("dim", [3, 100])
def test_variances_stay_and_the_error_is_that_of_the_matrices(family, rank, dim):
    mixture, groups = density(family, (2,), 7, dim), torch.tensor([[0, 0, 0, 1, 1, 0, 1], [1, 0, 1, 1, 1, 1, 0]])
    merged, error = mixture.merge_low_rank(groups, rank)
    own, expected = merged.covariance.dense(), mixture.merge(groups).covariance.dense()
    assert_close(own.diagonal(dim1=-2, dim2=-1), expected.diagonal(dim1=-2, dim2=-1))
    missing = torch.linalg.matrix_norm(own - expected) / torch.linalg.matrix_norm(expected)
    assert_close(error, missing, rtol=1e-7, atol=1e-12)
    assert rank == dim or (error > 1e-3).any()
    more = mixture.merge_low_rank(groups, rank + 2)[1]
    assert (more <= error).all()
    merged.log_prob(points((2,), 3, dim))


@pytest.mark.parametrize("family", ["diagonal", "low-rank"])
def test_gradient_where_the_rank_suffices(family):
    leaves = [leaf.requires_grad_() for leaf in parameters(family, (), 3, 3)]
    groups, x = torch.tensor([0, 1, 0]), points((), 3, 3)
    rank = 1 if family == "diagonal" else 3

    def function(*tensors):
        return build(family, *tensors).merge_low_rank(groups, rank)[0].log_prob(x)

    assert torch.autograd.gradcheck(function, leaves)
    merged, error = build(family, *leaves).merge_low_rank(torch.zeros(3, dtype=torch.int64), 1)
    assert error[0] > 0
    assert not error.requires_grad
    gradients = torch.autograd.grad(merged.log_prob(x).sum(), leaves, allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


def test_components_of_weight_zero():
    logits, *rest = parameters("low-rank", (), 5, 4)
    logits[[1, 3]] = -torch.inf
    leaves = [leaf.requires_grad_() for leaf in (logits, *rest)]
    merged, error = build("low-rank", *leaves).merge_low_rank(GROUPS, 2)
    assert merged.weights[2] == 0  # alone in its group
    assert_close(merged.means[0], leaves[1][4])
    assert error[0] < 1e-12
    for gradient in torch.autograd.grad(merged.log_prob(points((), 3, 4)).sum(), leaves):
        assert gradient.isfinite().all()


def test_nothing_is_of_all_dimensions_by_all():
    dim = 20_000  # D x D would be 1.5 GiB
    mixture = density("low-rank", (), 4, dim).to(torch.float32)
    merged, error = mixture.merge_low_rank(torch.zeros(4, dtype=torch.int64), 2)
    assert merged.covariance.factor.shape == (1, dim, 2)
    assert 0 < error < 1


ERRORS = {
    "merge_low_rank takes Diagonal or LowRank, got Full": ("full", GROUPS, 1),
    "rank must be 0 or more, got -1": ("diagonal", GROUPS, -1),
    r"groups must be integers \[5\]": ("diagonal", GROUPS[:4], 1),
    "a group has no component": ("low-rank", 2 * GROUPS, 1),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    family, groups, rank = ERRORS[sentence]
    with pytest.raises(ValueError, match=sentence):
        density(family).merge_low_rank(groups, rank)


def test_of_many_components_with_fewer_dimensions():
    mixture = density("low-rank", (), 40, 5)
    merged, error = mixture.merge_low_rank(torch.zeros(40, dtype=torch.int64), 5)
    assert error[0] < 1e-13
    assert_close(merged.covariance.dense()[0], mixture.moments()[1])
    assert isinstance(merged, GaussianMixture)
