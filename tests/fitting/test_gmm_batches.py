"""Fits of any dimension in batches and streams: stepwise EM and SGD."""

from __future__ import annotations

import pytest
import torch

from tests.fitting.test_gmm import ALL, clouds, estimator, mean_log_prob, same


@pytest.mark.parametrize("family", ALL)
def test_one_batch_is_all_points(family):
    x = clouds()
    whole = estimator(covariance=family).fit(x)
    same(whole.mixture, estimator(covariance=family, batch_size=len(x)).fit(x).mixture, rtol=0, atol=0)
    first = estimator(covariance=family, iterations=1).fit(x)
    same(first.mixture, estimator(covariance=family).partial_fit(x).mixture, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 100])
@pytest.mark.parametrize("method", ["em", "sgd"])
@pytest.mark.parametrize("family", ALL)
def test_a_stream_continues_a_fit(family, method, batch_size):
    x = clouds(points=1000)
    fitted = estimator(covariance=family, method=method, batch_size=batch_size, iterations=30, tolerance=1e-3).fit(x)
    best = mean_log_prob(fitted.mixture, x)
    fitted.partial_fit(x[:100])
    assert mean_log_prob(fitted.mixture, x) > best - 0.1
    assert not fitted.report.converged


@pytest.mark.parametrize("method", ["em", "sgd"])
@pytest.mark.parametrize("family", ALL)
def test_batches_and_streams_come_near_em(family, method):
    x = clouds(points=3000)
    best = mean_log_prob(estimator(covariance=family, iterations=50).fit(x).mixture, x)
    batches = estimator(covariance=family, method=method, batch_size=100, iterations=15, learning_rate=0.02).fit(x)
    assert mean_log_prob(batches.mixture, x) > best - 0.05
    stream = estimator(covariance=family, method=method, batch_size=100, learning_rate=0.02)
    for batch in x.repeat(5, 1).split(150):
        stream.partial_fit(batch)
    assert mean_log_prob(stream.mixture, x) > best - 0.3
    assert stream.report.iterations == 100


@pytest.mark.parametrize("size", [5, 60])
@pytest.mark.parametrize("family", ALL)
def test_batches_that_reach_few_components_lose_none(family, size):
    generator = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(8, 6, generator=generator, dtype=torch.float64)
    x = (centres[:, None] + torch.randn(8, 100, 6, generator=generator, dtype=torch.float64)).flatten(0, 1)
    fitted = estimator(8, covariance=family, batch_size=size, iterations=2).fit(x)
    whole = estimator(8, covariance=family, iterations=2).fit(x)
    assert fitted.report.empty == 0
    assert mean_log_prob(fitted.mixture, x) > mean_log_prob(whole.mixture, x) - 0.5


@pytest.mark.parametrize("family", ALL)
def test_batches_without_mass_say_nothing(family):
    x = clouds(400)
    mass = torch.zeros(400, dtype=torch.float64)
    mass[:40] = 1.0
    fitted = estimator(2, covariance=family, batch_size=10).fit(x, mass)
    assert mean_log_prob(fitted.mixture, x[:40]).isfinite()
    assert all(value.isfinite() for value in fitted.report.log_likelihood)
