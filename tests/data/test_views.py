"""Partial views of clouds."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gmcn.data.views import Views, look, view
from gmcn.errors import InputError

CLOUDS = torch.randn(5, 40, 3, generator=torch.Generator().manual_seed(0))
HALF = Views(points=12, coverage=(0.5, 0.5))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(points):
    """The points of a cloud as a set."""
    return {tuple(row) for row in points.tolist()}


def test_settings_are_read_and_written_back():
    read = Views.read({"points": 100, "coverage": [0.3, 0.8], "noise": 0.01})
    assert read == Views(100, (0.3, 0.8), 0.01)
    assert Views.read(dataclasses.asdict(read)) == read
    assert Views.read({}) == Views()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("half", "^training.views: it is 'half', but must be a mapping"),
        ({"cover": 1}, "^training.views: unknown key 'cover'"),
        ({"points": 7}, "'points' is 7, but must be at least 8"),
        ({"points": 9.5}, "'points' is 9.5, but must be a whole number"),
        ({"coverage": 0.5}, "'coverage' is 0.5, but must be a list"),
        ({"coverage": [0, 1]}, r"'coverage.0' is 0, but must be greater than 0"),
        ({"coverage": [0.5, 1.5]}, r"'coverage.1' is 1.5, but must be at most 1"),
        ({"coverage": [0.8, 0.3]}, r"'coverage' is \[0.8, 0.3\], but must have the smaller one first"),
        ({"noise": -1}, "'noise' is -1, but must be at least 0"),
        ({"noise": float("nan")}, "'noise' is nan, but must be a number"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Views.read(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_view_is_what_lies_beyond_its_plane(dtype):
    clouds = CLOUDS.to(dtype)
    seen = look(clouds, HALF, seeded())
    assert seen.points.shape == (5, 12, 3)
    assert seen.points.dtype == dtype
    assert seen.kept.sum(1).tolist() == [20] * 5
    assert torch.equal(seen.kept, seen.planes.heights(clouds) > 0)
    for cloud, kept, points in zip(clouds, seen.kept, seen.points, strict=True):
        assert len(rows(points)) == 12  # without replacement
        assert rows(points) <= rows(cloud[kept])
    torch.testing.assert_close(seen.planes.normals.norm(dim=1), torch.ones(5, dtype=torch.float64))
    assert torch.equal(view(clouds, HALF, seeded()), seen.points)


def test_whole_clouds_and_repeats():
    seen = look(CLOUDS, Views(points=90), seeded())
    assert seen.kept.all()
    assert seen.planes.offsets.tolist() == [-torch.inf] * 5
    for cloud, points in zip(CLOUDS, seen.points, strict=True):
        assert rows(points) == rows(cloud)
        counts = points.unique(dim=0, return_counts=True)[1]
        assert set(counts.tolist()) == {2, 3}  # 90 of 40
    few = look(CLOUDS, Views(points=30, coverage=(0.2, 0.2)), seeded())
    assert [len(rows(points)) for points in few.points] == [8] * 5


def test_coverage_is_uniform_and_directions_are_on_the_sphere():
    clouds = torch.randn(4000, 50, 3, generator=seeded(1))
    seen = look(clouds, Views(points=8, coverage=(0.2, 0.8)), seeded())
    share = seen.kept.double().mean(1)
    assert (share.min(), share.max()) == (0.2, 0.8)
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(0.6**2 / 12, rel=0.06)
    normals = seen.planes.normals
    assert normals.mean(0).abs().max() < 0.03
    assert (normals.T @ normals / 4000 - torch.eye(3) / 3).abs().max() < 0.02
    # What is chosen of the kept points says nothing of where the cut is.
    heights = seen.planes.heights(clouds)
    chosen = seen.planes.heights(seen.points)
    kept = torch.where(seen.kept, heights, 0).sum(1) / seen.kept.sum(1)
    assert (chosen.mean(1) - kept).mean().abs() < 0.01


def test_one_setting_does_not_change_what_another_does():
    noisy = look(CLOUDS, dataclasses.replace(HALF, noise=0.1), seeded())
    clean = look(CLOUDS, HALF, seeded())
    assert torch.equal(noisy.kept, clean.kept)
    assert 0.05 < (noisy.points - clean.points).std() < 0.2
    whole = look(CLOUDS, dataclasses.replace(HALF, coverage=(1.0, 1.0)), seeded())
    assert torch.equal(whole.planes.normals, clean.planes.normals)
    after = [torch.rand(3, generator=used(views)) for views in (HALF, Views(points=12, noise=1.0))]
    assert torch.equal(*after)
    assert not torch.equal(look(CLOUDS, HALF, seeded(1)).points, clean.points)


def used(views):
    generator = seeded()
    look(CLOUDS, views, generator)
    return generator


def test_equal_points_beside_the_plane_do_not_change_how_many_are_kept():
    clouds = CLOUDS[:, :10].repeat(1, 4, 1)
    seen = look(clouds, Views(points=12, coverage=(0.55, 0.55)), seeded())
    assert seen.kept.sum(1).tolist() == [22] * 5


@pytest.mark.parametrize(
    ("clouds", "coverage", "message"),
    [
        (CLOUDS, 0.1, "a view at coverage 0.1 keeps 4 of a cloud's 40 points, but must keep at least 8; "),
        (CLOUDS[:, :7], 1.0, "keeps 7 of a cloud's 7 points"),
        (CLOUDS[:, :0], 1.0, "keeps 0 of a cloud's 0 points"),
        (torch.where(torch.arange(5)[:, None, None] == 3, torch.nan, CLOUDS), 1.0, "cloud 3 .* of 5 has a point that"),
        (torch.where(torch.arange(5)[:, None, None] > 1, 2.0, CLOUDS), 1.0, "cloud 2 .* of 5 has all its points in on"),
        (CLOUDS[..., :2], 1.0, r"are \[5, 40, 2\], but must be clouds \[B, M, 3\]"),
        (CLOUDS[0], 1.0, r"are \[40, 3\], but must be clouds"),
    ],
)
def test_clouds_without_a_view(clouds, coverage, message):
    with pytest.raises(InputError, match=message):
        look(clouds, Views(points=12, coverage=(coverage, 1.0)), seeded())
