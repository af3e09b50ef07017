"""A mixture that moves to where points are, and stays where there are none."""

from __future__ import annotations

import pytest
import torch

from gmcn.errors import InputError
from gmcn.fitting import adapt
from gmcn.mixture import Full, GaussianMixture


def mixture(count: int = 2) -> GaussianMixture:
    means = torch.tensor([[-2.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64)[:count]
    dense = torch.eye(3, dtype=torch.float64).expand(count, 3, 3) * 0.25
    return GaussianMixture(torch.zeros(count, dtype=torch.float64), means, Full.from_dense(dense))


def cloud(count: int, at: float) -> torch.Tensor:
    noise = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise + torch.tensor([at, 0, 0], dtype=torch.float64)


def test_one_component_is_the_average_of_what_is_known_and_seen():
    points, known = cloud(20, 1.0), mixture(1)
    found = adapt(known, points, relevance=5.0, iterations=1)
    mean = (5 * known.means + points.sum(0)) / 25
    torch.testing.assert_close(found.means, mean)
    seen = (points[:, :, None] - mean[0, :, None]) * (points[:, None] - mean[0])
    moved = (known.means - mean)[0]
    expected = (5 * (known.covariance.dense()[0] + moved[:, None] * moved) + seen.sum(0)) / 25
    torch.testing.assert_close(found.covariance.dense()[0], expected)


def test_a_component_without_points_stays():
    found = adapt(mixture(), cloud(50, -2.0), relevance=1.0)
    torch.testing.assert_close(found.means[1], mixture().means[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.covariance.dense()[1], mixture().covariance.dense()[1], rtol=0, atol=1e-6)
    assert found.weights[0] > 0.9
    assert found.covariance.dense()[0].diagonal().max() < 0.05


def test_weights_stay_where_points_are_a_part():
    found = adapt(mixture(), cloud(50, -2.0), weights=False)
    torch.testing.assert_close(found.weights, mixture().weights)
    torch.testing.assert_close(found.means, adapt(mixture(), cloud(50, -2.0)).means, rtol=0, atol=1e-3)


def test_points_become_likelier_and_a_large_relevance_changes_nothing():
    points = cloud(100, -1.5)
    before = mixture().log_prob(points).mean()
    assert adapt(mixture(), points).log_prob(points).mean() > before + 1
    torch.testing.assert_close(adapt(mixture(), points, relevance=1e9).log_prob(points).mean(), before)
    torch.testing.assert_close(adapt(mixture(), points, iterations=0).log_prob(points).mean(), before)


def test_many_at_once_are_those_of_each():
    points = torch.stack([cloud(30, -1.5), cloud(30, 1.0)])
    both = adapt(mixture().expand(2), points)
    for place in range(2):
        torch.testing.assert_close(both.means[place], adapt(mixture(), points[place]).means)


def test_variances_keep_their_floor():
    points = torch.zeros(1000, 3, dtype=torch.float64)
    values = torch.linalg.eigvalsh(adapt(mixture(), points, floor=1e-2, iterations=50).covariance.dense())
    assert values.min() == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("points", "options", "sentence"),
    [
        (torch.zeros(0, 3), {}, "with at least one point"),
        (torch.zeros(4, 2), {}, r"must be \[..., M, 3\]"),
        (torch.full((4, 3), torch.nan), {}, "a point is not finite"),
        (torch.zeros(4, 3), {"relevance": 0}, "adapt: 'relevance'"),
    ],
)
def test_what_cannot_be_is_refused(points, options, sentence):
    with pytest.raises(InputError, match=sentence):
        adapt(mixture(), points.double(), **options)


def test_far_from_the_origin():
    """Coordinates of a map in metres, with details of decimetres."""
    shift = torch.tensor([5e5, 5e6, 0.0], dtype=torch.float64)
    known, points = mixture(), cloud(50, -2.0)
    near = adapt(known, points)
    far = adapt(GaussianMixture(known.logits, known.means + shift, known.covariance), points + shift)
    torch.testing.assert_close(far.covariance.dense(), near.covariance.dense(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(far.means - shift, near.means, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"weights": False}, {"iterations": 0}])
def test_leading_dimensions_broadcast(options):
    points = torch.stack([cloud(20, at) for at in (-2.0, 0.5, 2.0)])
    found = adapt(mixture(), points, **options)
    assert found.batch_shape == (3,)
    for one, some in zip(found.means, points, strict=True):
        torch.testing.assert_close(one, adapt(mixture(), some, **options).means)


@pytest.mark.parametrize("points", [torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3).half(), [[0.0, 0, 0]]])
def test_points_that_are_no_floats(points):
    with pytest.raises(InputError, match="must be a tensor of float32 or float64"):
        adapt(mixture(), points)
