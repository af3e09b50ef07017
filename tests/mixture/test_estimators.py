"""scikit-learn's mixtures, in and out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Estimator

from gmcn import GaussianMixture

from .workload import density

TYPES = ("full", "tied", "diag", "spherical")


def data(dim: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(300, dim)) * generator.uniform(0.5, 2, dim) + generator.integers(0, 3, (300, 1)) * 3


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("dim", [1, 2, 10])
def test_fitted_estimator_goes_in_and_out_unchanged(kind, n, dim):
    x = data(dim)
    fitted = Estimator(n, covariance_type=kind, random_state=0).fit(x)
    mixture = GaussianMixture.from_sklearn(fitted)
    np.testing.assert_allclose(mixture.log_prob(torch.as_tensor(x)), fitted.score_samples(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mixture.responsibilities(torch.as_tensor(x)), fitted.predict_proba(x), atol=1e-10)
    again = mixture.to_sklearn() if n > 1 and dim > 1 else mixture.to_sklearn(kind)
    assert again.covariance_type == kind
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        own, other = getattr(again, name), getattr(fitted, name)
        assert own.shape == other.shape
        np.testing.assert_allclose(own, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(again.score_samples(x), fitted.score_samples(x), rtol=1e-12, atol=1e-12)
    assert (again.predict(x) == fitted.predict(x)).all()
    assert again.bic(x) == pytest.approx(fitted.bic(x), rel=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_bayesian_estimator_goes_in(kind):
    fitted = BayesianGaussianMixture(n_components=3, covariance_type=kind, random_state=0, max_iter=500).fit(data(3))
    mixture = GaussianMixture.from_sklearn(fitted)
    again = mixture.to_sklearn()
    assert again.covariance_type == kind
    np.testing.assert_allclose(again.covariances_, fitted.covariances_, rtol=1e-12)
    np.testing.assert_allclose(mixture.weights, fitted.weights_, rtol=1e-12)


@pytest.mark.parametrize("family", ["full", "diagonal", "frame", "low-rank"])
def test_every_family_goes_out(family):
    mixture = density(family).to(torch.float32)
    x = torch.as_tensor(data(3))
    out = mixture.to_sklearn()
    np.testing.assert_allclose(out.score_samples(x.numpy()), mixture.to(torch.float64).log_prob(x), rtol=1e-5)
    drawn, _ = out.sample(5)
    assert drawn.shape == (5, 3)


def test_neither_shares_its_numbers_with_the_other():
    fitted = Estimator(2, covariance_type="diag", random_state=0).fit(data(2))
    mixture = GaussianMixture.from_sklearn(fitted)
    before, again = mixture.means.clone(), mixture.to_sklearn()
    fitted.means_ += 1
    again.means_ += 1
    assert torch.equal(mixture.means, before)


def test_errors_are_one_sentence():
    with pytest.raises(ValueError, match="GaussianMixture is no fitted Gaussian mixture of scikit-learn"):
        GaussianMixture.from_sklearn(Estimator(2))
    with pytest.raises(ValueError, match="'tied' does not fit Full: full do"):
        density("full").to_sklearn("tied")
    with pytest.raises(ValueError, match=r"one mixture at a time, not \[2\]"):
        density("full", (2,)).to_sklearn()
