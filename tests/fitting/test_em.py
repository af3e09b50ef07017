"""EM compiled and in plain torch: against each other, scikit-learn and torch.distributions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from gmcn.fitting import em, reference
from gmcn.mixture import Mixture

IMPLEMENTATIONS = pytest.mark.parametrize("em_of", [em.em, reference.em], ids=["compiled", "reference"])


def mixtures(dim, shapes=3, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(shapes, n, generator=generator, dtype=torch.float64) + 0.1
    positions = torch.rand(shapes, n, dim, generator=generator, dtype=torch.float64)
    factors = 0.2 * torch.randn(shapes, n, dim, dim, generator=generator, dtype=torch.float64)
    covariances = factors @ factors.mT + 0.01 * torch.eye(dim, dtype=torch.float64)
    return Mixture(weights / weights.sum(-1, keepdim=True), positions, covariances)


def points(dim, shapes=3, count=100):
    return torch.rand(shapes, count, dim, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def masses(shapes=3, count=100, equal=True):
    mass = torch.rand(shapes, count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    mass = torch.ones_like(mass) if equal else torch.where(mass < 0.3, 0.0, mass)
    return mass / mass.sum(-1, keepdim=True)


@pytest.mark.parametrize("dim", [2, 3])
def test_log_densities(dim):
    mixture, x = mixtures(dim), points(dim)
    normal = torch.distributions.MultivariateNormal(mixture.positions[:, None], mixture.covariances[:, None])
    expected = normal.log_prob(x[:, :, None]) + mixture.weights.log()[:, None]
    torch.testing.assert_close(reference.log_densities(reference.monomials(x), mixture), expected)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize(("count", "n"), [(1, 1), (7, 3), (63, 1), (129, 40), (1000, 17)])
def test_compiled_as_the_reference(dim, equal, count, n):
    x, mass, start = points(dim, count=count), masses(count=count, equal=equal or count == 1), mixtures(dim, n=n)
    for steps, tolerance in ((1, 0.0), (6, 0.0), (200, 1e-3)):
        ours = em.em(x, mass, start, 1e-4, steps, tolerance)
        theirs = reference.em(x, mass, start, 1e-4, steps, tolerance)
        for one, other in zip((*ours[0], *ours[1:]), (*theirs[0], *theirs[1:]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@IMPLEMENTATIONS
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("steps", [1, 20])
def test_steps_are_scikit_learns(em_of, dim, steps):
    from sklearn.mixture import GaussianMixture

    start, x, floor = mixtures(dim), points(dim), 1e-3
    result, taken, likelihood = em_of(x, masses(), start, floor, steps)
    assert taken.tolist() == [steps] * 3
    for s in range(3):
        other = GaussianMixture(
            5,
            max_iter=steps,
            tol=0,
            reg_covar=floor,
            weights_init=start.weights[s].numpy(),
            means_init=start.positions[s].numpy(),
            precisions_init=torch.linalg.inv(start.covariances[s]).numpy(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not converge
            other.fit(x[s].numpy())
        np.testing.assert_allclose(result.weights[s], other.weights_, rtol=1e-8)
        np.testing.assert_allclose(result.positions[s], other.means_, rtol=1e-8)
        np.testing.assert_allclose(result.covariances[s], other.covariances_, rtol=1e-8, atol=1e-12)
        assert likelihood[s].item() == pytest.approx(other.lower_bound_, rel=1e-9)


@IMPLEMENTATIONS
def test_stops_by_scikit_learns_rule(em_of):
    from sklearn.mixture import GaussianMixture

    start, x, tolerance = mixtures(3), points(3), 2e-3
    _, taken, _ = em_of(x, masses(), start, 1e-3, 500, tolerance)
    for s in range(3):
        other = GaussianMixture(
            5,
            max_iter=500,
            tol=tolerance,
            reg_covar=1e-3,
            weights_init=start.weights[s].numpy(),
            means_init=start.positions[s].numpy(),
            precisions_init=torch.linalg.inv(start.covariances[s]).numpy(),
        ).fit(x[s].numpy())
        assert taken[s].item() == other.n_iter_
    assert taken.unique().numel() > 1


@IMPLEMENTATIONS
def test_steps_never_lower_the_likelihood(em_of):
    mixture, x = mixtures(2), points(2)
    found = []
    for _ in range(10):
        mixture, _, likelihood = em_of(x, masses(equal=False), mixture, 1e-12, 1)
        found.append(likelihood)
    gain = torch.stack(found).diff(dim=0)
    assert (gain > -1e-12).all()
    assert (gain[0] > 0.01).all()


@IMPLEMENTATIONS
def test_a_component_without_mass_stays_inert(em_of):
    mixture, x = mixtures(3), points(3)
    weights = mixture.weights.clone()
    weights[:, 2] = 0
    weights = weights / weights.sum(-1, keepdim=True)
    result, *_ = em_of(x, masses(), mixture._replace(weights=weights), 1e-6, 3)
    kept = [0, 1, 3, 4]
    smaller, *_ = em_of(
        x, masses(), Mixture(weights[:, kept], mixture.positions[:, kept], mixture.covariances[:, kept]), 1e-6, 3
    )
    assert (result.weights[:, 2] == 0).all()
    assert torch.equal(result.positions[:, 2], mixture.positions[:, 2])
    average = (smaller.weights[..., None, None] * smaller.covariances).sum(1)
    torch.testing.assert_close(result.covariances[:, 2], average)
    for ours, theirs in zip(result, smaller, strict=True):
        torch.testing.assert_close(ours[:, kept], theirs)


@IMPLEMENTATIONS
def test_a_point_far_from_everything(em_of):
    """Its density is below the smallest number; its logarithm is not."""
    x = torch.cat([points(3), torch.full((3, 1, 3), 60.0, dtype=torch.float64)], dim=1)
    result, _, likelihood = em_of(x, masses(count=101), mixtures(3), 1e-4, 2)
    assert all(tensor.isfinite().all() for tensor in result)
    assert likelihood.isfinite().all()
    assert (result.positions.amax((1, 2)) > 5).all()


def test_a_bad_covariance_is_named():
    start = mixtures(3)
    start.covariances[1, 2] = -torch.eye(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="covariance of shape 1 is not positive definite; raise covariance_floor"):
        em.em(points(3), masses(), start, 1e-4, 1)


def test_threads_change_nothing():
    x, mass, start = points(3, shapes=9), masses(shapes=9), mixtures(3, shapes=9)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(em.em(x, mass, start, 1e-4, 12)[0])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))
