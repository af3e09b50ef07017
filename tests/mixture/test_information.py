"""Numbers of parameters and information criteria, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Estimator
from torch.testing import assert_close

from gmcn import GaussianMixture
from gmcn.mixture import LowRank

from .test_estimators import TYPES, data
from .workload import FAMILIES, build, density, parameters, points


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dim", [1, 4])
def test_criteria_are_those_of_scikit_learn(kind, n, dim):
    x = data(dim)
    fitted = Estimator(n, covariance_type=kind, random_state=0).fit(x)
    mixture, points = GaussianMixture.from_sklearn(fitted), torch.as_tensor(x)
    assert mixture.degrees_of_freedom() == fitted._n_parameters()
    assert float(mixture.bic(points)) == pytest.approx(fitted.bic(x), rel=1e-12)
    assert float(mixture.aic(points)) == pytest.approx(fitted.aic(x), rel=1e-12)
    counts = np.random.default_rng(1).integers(0, 4, len(x))
    weights = torch.as_tensor(counts, dtype=torch.float64)
    assert float(mixture.bic(points, weights)) == pytest.approx(fitted.bic(x.repeat(counts, 0)), rel=1e-12)
    assert float(mixture.aic(points, weights)) == pytest.approx(fitted.aic(x.repeat(counts, 0)), rel=1e-12)


def test_factors_count_up_to_a_rotation_and_never_more_than_a_matrix():
    def free(dim: int, rank: int) -> int:
        covariance = LowRank(torch.ones(2, dim), torch.ones(2, dim, rank))
        return GaussianMixture(torch.zeros(2), torch.zeros(2, dim), covariance).degrees_of_freedom() - 1 - 2 * dim

    assert free(10, 0) == 2 * 10
    assert free(10, 1) == 2 * 20
    assert free(10, 3) == 2 * (10 + 30 - 3)
    assert free(10, 9) == free(10, 12) == 2 * 55
    assert density("frame", (4,), 5, 3).degrees_of_freedom() == 4 + 15 + 5 * 6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_some_points_at_a_time_and_leading_dimensions(family, shape, monkeypatch):
    mixture, x = density(family, shape), points((2, 1), 11, 3)
    weights = torch.rand(2, 1, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    free, total = mixture.degrees_of_freedom(), (mixture.log_prob(x) * weights).sum(-1)
    monkeypatch.setattr("gmcn.mixture.information.SIZE", 4 * mixture.means.numel())
    assert_close(mixture.bic(x, weights), free * weights.sum(-1).log() - 2 * total)
    assert_close(mixture.aic(x, weights[0, 0]), 2 * free - 2 * (mixture.log_prob(x) * weights[0, 0]).sum(-1))
    assert mixture.aic(x).shape == (2, *(shape or (1,)))


def test_criteria_have_a_gradient():
    leaves = [leaf.requires_grad_() for leaf in (*parameters("low-rank", (), 2, 3), points((), 4, 3))]

    def function(*tensors):
        mixture = build("low-rank", *tensors[:-1])
        return mixture.bic(tensors[-1]), mixture.aic(tensors[-1])

    assert torch.autograd.gradcheck(function, leaves)


ERRORS = {
    r"weights \[3\] do not fit points \[4, 3\]": lambda m: m.bic(points((), 4, 3), torch.ones(3).double()),
    r"finite and not negative \(at \[1\]\)": lambda m: m.bic(points((), 2, 3), torch.tensor([1.0, -1.0]).double()),
    "no point has a positive weight": lambda m: m.aic(points((), 2, 3), torch.zeros(2).double()),
    r"x must be \[..., M, 3\]": lambda m: m.bic(points((), 2, 4)),
    r"x must be \[..., M, D\], got \[3\]": lambda m: m.bic(torch.ones(3).double()),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        ERRORS[sentence](density("full"))
