"""EM steps and densities against scikit-learn and torch.distributions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from gmcn.fitting import em
from gmcn.mixture import Mixture


def mixtures(dim, shapes=3, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(shapes, n, generator=generator, dtype=torch.float64) + 0.1
    positions = torch.rand(shapes, n, dim, generator=generator, dtype=torch.float64)
    factors = 0.2 * torch.randn(shapes, n, dim, dim, generator=generator, dtype=torch.float64)
    covariances = factors @ factors.mT + 0.01 * torch.eye(dim, dtype=torch.float64)
    return Mixture(weights / weights.sum(-1, keepdim=True), positions, covariances)


def points(dim, shapes=3, count=100):
    return torch.rand(shapes, count, dim, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("dim", [2, 3])
def test_log_densities(dim):
    mixture, x = mixtures(dim), points(dim)
    normal = torch.distributions.MultivariateNormal(mixture.positions[:, None], mixture.covariances[:, None])
    expected = normal.log_prob(x[:, :, None]) + mixture.weights.log()[:, None]
    torch.testing.assert_close(em.log_densities(em.monomials(x), mixture), expected)


def test_log_density_averaged_over_the_points_own_gaussian():
    mixture, x = mixtures(2), points(2)
    extent = torch.tensor([[0.02, 0.005], [0.005, 0.01]], dtype=torch.float64).expand(3, 2, 2)
    # The mean over a Gaussian of a quadratic form, by its sigma points: exact.
    offsets = torch.linalg.cholesky(2 * extent[0]).mT
    sigma = [x + sign * offset for offset in offsets for sign in (-1, 1)]
    expected = torch.stack([em.log_densities(em.monomials(s), mixture) for s in sigma]).mean(0)
    torch.testing.assert_close(em.log_densities(em.monomials(x), mixture, extent), expected)


@pytest.mark.parametrize("dim", [2, 3])
def test_one_step_is_scikit_learns(dim):
    from sklearn.mixture import GaussianMixture

    start, x, floor = mixtures(dim), points(dim), 1e-3
    mass = torch.full((3, 100), 0.01, dtype=torch.float64)
    none = torch.zeros(3, dim, dim, dtype=torch.float64)
    result = em.em_step(em.monomials(x), mass, start, none, floor)
    for s in range(3):
        other = GaussianMixture(
            5,
            max_iter=1,
            reg_covar=floor,
            weights_init=start.weights[s].numpy(),
            means_init=start.positions[s].numpy(),
            precisions_init=torch.linalg.inv(start.covariances[s]).numpy(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one step does not converge
            other.fit(x[s].numpy())
        np.testing.assert_allclose(result.weights[s], other.weights_, rtol=1e-9)
        np.testing.assert_allclose(result.positions[s], other.means_, rtol=1e-9)
        np.testing.assert_allclose(result.covariances[s], other.covariances_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("extent", [0.0, 0.02])
def test_steps_never_lower_the_bound(extent):
    mixture, phi = mixtures(2), em.monomials(points(2))
    mass = torch.full((3, 100), 0.01, dtype=torch.float64)
    own = extent * torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    bounds = []
    for _ in range(10):
        bounds.append((mass * torch.logsumexp(em.log_densities(phi, mixture, own), -1)).sum(-1))
        mixture = em.em_step(phi, mass, mixture, own, 1e-12)
    gain = torch.stack(bounds).diff(dim=0)
    assert (gain > -1e-12).all()
    assert (gain[0] > 0.01).all()


def test_a_component_without_mass_stays_inert():
    mixture, phi = mixtures(3), em.monomials(points(3))
    mass = torch.full((3, 100), 0.01, dtype=torch.float64)
    none = torch.zeros(3, 3, 3, dtype=torch.float64)
    weights = mixture.weights.clone()
    weights[:, 2] = 0
    weights = weights / weights.sum(-1, keepdim=True)
    result = em.em_step(phi, mass, mixture._replace(weights=weights), none, 1e-6)
    kept = [0, 1, 3, 4]
    smaller = em.em_step(
        phi, mass, Mixture(weights[:, kept], mixture.positions[:, kept], mixture.covariances[:, kept]), none, 1e-6
    )
    assert (result.weights[:, 2] == 0).all()
    assert torch.equal(result.positions[:, 2], mixture.positions[:, 2])
    for ours, theirs in zip(result, smaller, strict=True):
        torch.testing.assert_close(ours[:, kept], theirs)
