"""k-means against scikit-learn's, its starts, and clusters that run empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmcn.fitting import kmeans, reference

# Compiled, and the plain-torch twin.
IMPLEMENTATIONS = pytest.mark.parametrize("module", [kmeans, reference], ids=["compiled", "reference"])


def clouds(shapes=6, count=200, dim=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(shapes, count, dim, generator=generator, dtype=torch.float64)
    return points, torch.rand(shapes, count, generator=generator, dtype=torch.float64) + 0.1


@IMPLEMENTATIONS
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_inertia_as_scikit_learn(module, dim, weighted):
    from sklearn.cluster import KMeans

    points, mass = clouds(dim=dim)
    mass = mass if weighted else torch.ones_like(mass)
    start = points[:, :12]
    centres, assignment = module.lloyd(points, mass, start, 300)
    for s in range(len(points)):
        other = KMeans(12, init=start[s].numpy(), n_init=1, tol=0, max_iter=300, algorithm="lloyd")
        other.fit(points[s].numpy(), sample_weight=mass[s].numpy())
        own = points[s] - centres[s, assignment[s]]
        assert (mass[s] * own.square().sum(-1)).sum().item() == pytest.approx(other.inertia_, rel=1e-9)
        assert np.array_equal(assignment[s].numpy(), other.labels_)


@IMPLEMENTATIONS
def test_converged(module):
    points, mass = clouds()
    centres, assignment = module.lloyd(points, mass, points[:, :8], 300)
    assert torch.equal(assignment, torch.cdist(points, centres).argmin(-1))
    weighted = torch.cat([mass[..., None], mass[..., None] * points], -1)
    sums = reference.sum_clusters(weighted, assignment, 8)
    torch.testing.assert_close(sums[..., 1:] / sums[..., :1], centres)


@IMPLEMENTATIONS
def test_no_iterations_leave_the_start(module):
    points, mass = clouds()
    centres, assignment = module.lloyd(points, mass, points[:, :8], 0)
    assert torch.equal(centres, points[:, :8])
    assert torch.equal(assignment, torch.cdist(points, centres).argmin(-1))


@IMPLEMENTATIONS
def test_empty_clusters_move_to_the_farthest_points(module):
    # Two groups and a point far away; all the centres start in the first group, two of them where nothing is.
    points = torch.tensor([[[0.0, 0], [0.1, 0], [0, 0.1], [5, 5], [5.1, 5], [9, -9]]], dtype=torch.float64)
    start = torch.tensor([[[0.0, 0], [-50, 0], [-60, 0]]], dtype=torch.float64)
    _, assignment = module.lloyd(points, torch.ones(1, 6, dtype=torch.float64), start, 50)
    assert assignment[0, :3].unique().numel() == 1
    assert assignment[0, 3] == assignment[0, 4]
    assert assignment[0].unique().numel() == 3


@IMPLEMENTATIONS
def test_more_centres_than_distinct_points_end(module):
    points = torch.tensor([[[0.0, 0], [0, 0], [1, 0], [1, 0]]], dtype=torch.float64)
    centres, assignment = module.lloyd(points, torch.ones(1, 4, dtype=torch.float64), points[:, [0, 1, 2, 0]], 50)
    assert torch.isfinite(centres).all()
    torch.testing.assert_close(centres[0, assignment[0]], points[0])


@IMPLEMENTATIONS
def test_farthest_points_by_hand(module):
    points = torch.tensor([[[0.0, 0], [1, 0], [10, 0], [10, 3], [4, 0]], [[5.0, 5], [0, 0], [5, 4], [5, 0], [9, 9]]])
    points, mass = points.double(), torch.ones(2, 5, dtype=torch.float64)
    assert module.farthest_points(points, mass, 3).tolist() == [[0, 3, 4], [0, 1, 4]]
    mass[0, 0] = 0  # a point without mass does not exist: it starts nothing and is never the farthest
    assert module.farthest_points(points, mass, 2)[0].tolist() == [1, 3]


@IMPLEMENTATIONS
def test_plus_plus_draws_by_mass_times_squared_distance(module):
    # From the first point, the second is drawn from 1 : 4 * 3 : 0; a chi-squared test by hand on 4000 draws.
    count = 4000
    points = torch.tensor([[0.0, 0], [1, 0], [2, 0], [0, 7]], dtype=torch.float64).expand(count, 4, 2)
    mass = torch.tensor([1e6, 1.0, 3.0, 0.0], dtype=torch.float64).expand(count, 4)
    uniform = torch.rand(count, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = module.kmeans_plus_plus(points, mass, uniform)
    chosen = chosen[chosen[:, 0] == 0]
    share = (chosen[:, 1] == 2).double().mean().item()
    assert abs(share - 12 / 13) < 5 * (12 / 13 / 13 / len(chosen)) ** 0.5
    assert not (chosen[:, 1] == 3).any()
    assert not (chosen[:, 1] == 0).any()


@IMPLEMENTATIONS
def test_plus_plus_never_draws_a_point_without_mass(module):
    points = torch.rand(50, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mass = torch.ones(50, 8, dtype=torch.float64)
    mass[:, [0, 7]] = 0
    for value in (0.0, 1.0 - 1e-9):
        chosen = module.kmeans_plus_plus(points, mass, torch.full((50, 6), value, dtype=torch.float64))
        assert chosen.min() >= 1
        assert chosen.max() <= 6
        assert all(row.unique().numel() == 6 for row in chosen)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("count", "n"), [(1, 1), (3, 7), (65, 9), (500, 64)])
def test_compiled_as_the_reference(dim, count, n):
    points, mass = clouds(count=count, dim=dim)
    mass = torch.where((mass < 0.3) & (torch.arange(count) > 0), 0.0, mass)
    uniform = torch.rand(6, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    starts = {}
    for module in (kmeans, reference):
        starts[module] = module.kmeans_plus_plus(points, mass, uniform), module.farthest_points(points, mass, n)
    assert all(torch.equal(one, other) for one, other in zip(starts[kmeans], starts[reference], strict=True))
    start = points.gather(1, starts[kmeans][0][..., None].expand(-1, -1, dim))
    centres, assignment = kmeans.lloyd(points, mass, start, 100)
    expected, expected_assignment = reference.lloyd(points, mass, start, 100)
    torch.testing.assert_close(centres, expected)
    assert torch.equal(assignment, expected_assignment)
