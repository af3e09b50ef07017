"""Distances between clouds, and nearest clouds without the distances of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gmcn.errors import InputError
from gmcn.tasks.generation import measures_of_clouds as rooms
from gmcn.tasks.generation.measures_of_clouds import (
    CHAMFER,
    EARTH_MOVERS,
    Clouds,
    Pairs,
    chamfer,
    earth_movers,
    potentials,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def shapes(count, points, seed=0):
    """Boxes of various proportions, so that some are near each other."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, points, 3, generator=generator) - 0.5) * (
        0.2 + torch.rand(count, 1, 3, generator=generator)
    )


def pairwise(first, second):
    return torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize("squared", [True, False])
def test_chamfer_by_all_pairs_of_points(squared):
    first, second = drawn(3, 20), drawn(3, 31, seed=1)
    distances = pairwise(first, second) ** (2 if squared else 1)
    expected = distances.amin(2).mean(1) + distances.amin(1).mean(1)
    torch.testing.assert_close(chamfer(first, second, squared=squared), expected, rtol=1e-12, atol=0)
    assert chamfer(first, first[:, torch.randperm(20)], squared=squared).tolist() == [0.0] * 3


def test_chamfer_of_point_cloud_utils():
    pcu = pytest.importorskip("point_cloud_utils")
    first, second = drawn(1, 50), drawn(1, 40, seed=1)
    # Theirs adds the means of distances that are not squared.
    theirs = pcu.chamfer_distance(first[0].double().numpy(), second[0].double().numpy())
    assert chamfer(first, second, squared=False).item() == pytest.approx(theirs, rel=1e-6)


def test_earth_movers_by_all_matchings():
    first, second = drawn(2, 6), drawn(2, 6, seed=1)
    costs = pairwise(first, second)
    matchings = list(itertools.permutations(range(6)))
    expected = [min(cost[range(6), list(one)].mean() for one in matchings) for cost in costs]
    torch.testing.assert_close(earth_movers(first, second), torch.stack(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_earth_movers_by_the_plain_assignment(scale):
    from scipy.optimize import linear_sum_assignment

    first, second = shapes(4, 100) * scale, shapes(4, 100, seed=1) * scale
    second[3] += 50 * scale
    for cost, found in zip(pairwise(first, second).numpy(), earth_movers(first, second), strict=True):
        assert found.item() == pytest.approx(cost[linear_sum_assignment(cost)].mean(), rel=1e-9)


def test_earth_movers_of_what_is_the_same_or_shifted():
    first = shapes(2, 64)
    assert earth_movers(first, first.flip(1)).tolist() == [0.0, 0.0]
    # A shift is its own length, whatever the shape.
    shifted = first.double() + torch.tensor([3.0, 0.0, 4.0])
    torch.testing.assert_close(earth_movers(first, shifted).tolist(), [5.0, 5.0], rtol=1e-12, atol=0)
    assert earth_movers(torch.ones(1, 9, 3), torch.ones(1, 9, 3)).tolist() == [0.0]


@pytest.mark.parametrize("blur", [1e-4, 0.02, 10.0])
def test_potentials_bound_every_matching(blur):
    costs = pairwise(shapes(1, 30), shapes(1, 30, seed=1) + 2)[0]
    left, right = potentials(costs, blur, 10)
    assert (costs - left[:, None] - right).min() > -1e-12
    assert 0 < left.mean() + right.mean() <= earth_movers(shapes(1, 30), shapes(1, 30, seed=1) + 2).item() + 1e-9


@pytest.mark.parametrize(("distance", "function"), [(CHAMFER, chamfer), (EARTH_MOVERS, earth_movers)])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_nearest_are_those_of_all_pairs(distance, function, scale):
    first, second = shapes(9, 40) * scale, shapes(12, 40, seed=1) * scale
    second[4], second[7] = first[2], 0.1 * scale  # one that is the same, and one that has no extent
    one, two = Clouds(first), Clouds(second)
    pairs = Pairs(one, two, distance)
    expected = torch.stack([function(cloud.expand(12, -1, -1), second) for cloud in first]).numpy()
    assert (pairs.bounds <= expected + 1e-9 * scale).all()
    for axis in (1, 0):
        distances, places = pairs.nearest(axis)
        np.testing.assert_allclose(distances, expected.min(axis), rtol=1e-9, atol=1e-12)
        assert places.tolist() == expected.argmin(axis).tolist()
    assert (pairs.found == len(distance.stages)).sum() < 70  # of 108

    among = torch.stack([function(cloud.expand(9, -1, -1), first) for cloud in first])
    among.fill_diagonal_(torch.inf)
    own = Pairs(one, one, distance)
    distances, places = own.nearest()
    np.testing.assert_allclose(distances, among.amin(1), rtol=1e-9)
    assert places.tolist() == among.argmin(1).tolist()
    # Nearer than a limit, or not at all.
    limits = among.amin(1).numpy() * np.where(np.arange(9) % 2, 1.1, 0.9)
    distances, places = Pairs(one, one, distance).nearest(limits=limits)
    assert (places >= 0).tolist() == [bool(i % 2) for i in range(9)]
    assert (distances <= limits).all()


def test_searches_do_not_repeat_what_others_found(monkeypatch):
    clouds = Clouds(shapes(10, 30))
    counted = []
    stages = (lambda *pair: counted.append(pair) or rooms._chamfer(*pair),)
    pairs = Pairs(clouds, clouds, rooms.Distance(CHAMFER.bounds, stages))
    pairs.nearest()
    searched = len(counted)
    assert len({frozenset((i, j)) for _, i, _, j in counted}) == searched
    pairs.nearest()
    assert len(counted) == searched


def test_one_cloud_has_no_other():
    clouds = Clouds(shapes(1, 30))
    distances, places = Pairs(clouds, clouds, CHAMFER).nearest()
    assert (distances.tolist(), places.tolist()) == ([np.inf], [-1])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(5, 3), r"clouds to compare are \[5, 3\], but must be \[clouds, points, 3\]"),
        (torch.zeros(2, 0, 3), r"are \[2, 0, 3\]"),
        (torch.zeros(2, 4, 2), r"are \[2, 4, 2\]"),
        (
            torch.tensor([[[0.0, 0, 0]], [[0, torch.nan, 0]]]),
            r"1 of 2 clouds .* not finite \(the first is cloud 1, ",
        ),
    ],
)
def test_what_are_no_clouds(points, message):
    with pytest.raises(InputError, match=message):
        chamfer(points, points)


def test_matchings_need_equal_sizes():
    with pytest.raises(InputError, match=r"of equal size, not of \[2, 5, 3\] and \[2, 6, 3\]"):
        earth_movers(drawn(2, 5), drawn(2, 6))
