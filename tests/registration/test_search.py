"""Poses that are known beside those that are found: of symmetric objects all of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from gmcn import GaussianMixture, MixtureTree, overlap
from gmcn.data.augmentation import from_quaternions
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.ops.reference.poses import pose_values
from gmcn.registration import Registration, levels_of, search
from gmcn.registration.rotations import about, angles_between, everywhere, motions, turns
from gmcn.registration.search import Effort

from .shapes import chair, revolved, table, vase

Z = torch.tensor([0.0, 0, 1]).double()
SHIFT = torch.tensor([0.3, -0.2, 0.1]).double()


def posed(cloud: torch.Tensor, rotation: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    return scale * cloud @ rotation.mT + SHIFT


def find(source, target, **options):
    return search(levels_of(source, "source"), levels_of(target, "target"), **options)


def rotation_of(seed: int) -> torch.Tensor:  # [3, 3]
    quaternion = torch.randn(4, generator=torch.Generator().manual_seed(seed)).double()
    return from_quaternions(quaternion[None] / quaternion.norm())[0]


@pytest.mark.parametrize("degrees", [0, 40, 175, -100])
def test_a_turn_about_an_axis_is_found(degrees):
    rotation = turns(Z, torch.tensor([math.radians(degrees)]).double())[0]
    found = find(chair(0), posed(chair(1), rotation), axis=Z)
    assert angles_between(found.rotations[:1], rotation[None]).item() < 2
    torch.testing.assert_close(found.rotation @ Z, Z)
    torch.testing.assert_close(found.translation, SHIFT, rtol=0, atol=0.03)
    assert found.confidence > 0.35  # three turns of the table below fit nearly as well
    assert found.similarities[0] > 0.8
    assert found.axis is None
    moved = found.move(chair(0))
    assert torch.cdist(moved, posed(chair(0), rotation)).diagonal().max() < 0.1
    torch.testing.assert_close(torch.cat([chair(0)[:2], torch.ones(2, 1)], 1) @ found.matrix[:3].mT, moved[:2])


def test_points_of_whole_numbers_are_moved_as_others():
    found = Registration(rotation_of(0)[None], SHIFT[None], *(torch.ones(1).double() for _ in range(3)))
    points = torch.tensor([[1, 2, 3], [-4, 5, 0]])
    torch.testing.assert_close(found.move(points), posed(points.double(), rotation_of(0)))


@pytest.mark.parametrize("seed", range(3))
def test_any_rotation_is_found_and_without_randomness(seed):
    rotation = rotation_of(seed)
    found, again = (find(chair(0), posed(chair(1), rotation)) for _ in range(2))
    assert angles_between(found.rotations[:1], rotation[None]).item() < 3
    torch.testing.assert_close(found.translation, SHIFT, rtol=0, atol=0.05)
    torch.testing.assert_close(found.rotations @ found.rotations.mT, torch.eye(3).double().expand_as(found.rotations))
    assert all(torch.equal(one, two) for one, two in zip(found.matrices, again.matrices, strict=True))
    back = find(posed(chair(1), rotation), chair(0))
    assert angles_between(back.rotations[:1], rotation.mT[None]).item() < 3


@pytest.mark.parametrize(("width", "depth", "count"), [(0.6, 0.6, 4), (0.8, 0.45, 2)])
@pytest.mark.parametrize("axis", [Z, None])
def test_symmetric_tables_have_modes_of_equal_weight(width, depth, count, axis):
    rotation = turns(Z, torch.tensor([0.7]).double())[0]
    found = find(table(width, depth, 0), posed(table(width, depth, 1), rotation), axis=axis)
    assert (found.weights > 0.05).sum() == count
    torch.testing.assert_close(found.weights[:count], torch.full((count,), 1 / count).double(), rtol=0.25, atol=0)
    steps = about(Z, count)
    between = angles_between(found.rotations[:count], steps @ rotation)
    assert (between.amin(0) < 4).all()
    assert found.axis is None


@pytest.mark.parametrize("axis", [Z, None])
def test_a_surface_of_revolution_is_free_about_its_axis(axis):
    rotation = turns(Z, torch.tensor([0.7]).double())[0] if axis is not None else rotation_of(4)
    found = find(vase(0), posed(vase(1), rotation), axis=axis)
    assert len(found.weights) == 1
    assert abs(found.axis @ (rotation @ Z)) > 0.99
    assert (found.rotation @ Z) @ (rotation @ Z) > 0.99


@pytest.mark.parametrize("sides", [(1.0, 1.5, 3.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("axis", [Z, None])
def test_a_solid_box_is_free_about_no_axis(sides, axis):
    one, two = (torch.rand(1024, 3, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    rotation = turns(Z, torch.tensor([0.7]).double())[0] if axis is not None else rotation_of(3)
    found = find(one * torch.tensor(sides), posed(two * torch.tensor(sides), rotation), axis=axis)
    assert found.axis is None
    assert (found.weights > 0.1).sum() == (2 if axis is not None else 4)


@pytest.mark.parametrize("height", [1.0, math.sqrt(6), 4.0])
def test_a_tube_is_free_about_its_axis_whatever_its_moments(height):
    one, two = (revolved(lambda heights: 1 + 0 * heights, seed) / torch.tensor([1, 1, 1.2 / height]) for seed in (0, 1))
    rotation = rotation_of(5)
    found = find(one, posed(two, rotation))
    assert abs(found.axis @ (rotation @ Z)) > 0.98
    assert len(found.weights) == 2  # one end up, or the other


def test_fewer_modes_change_no_weight():
    pair = table(0.6, 0.6, 0), posed(table(0.6, 0.6, 1), turns(Z, torch.tensor([0.7]).double())[0])
    all_of_them, one = (find(*pair, axis=Z, most=most) for most in (16, 1))
    assert len(one.weights) == 1
    assert one.confidence == all_of_them.confidence < 0.4


def test_a_factor_is_found_where_it_is_free():
    rotation = rotation_of(2)
    found = find(chair(0), posed(chair(1), rotation, 30.0), scale=True)
    assert found.scale == pytest.approx(30, rel=0.05)
    assert angles_between(found.rotations[:1], rotation[None]).item() < 3
    torch.testing.assert_close(found.translation, SHIFT, rtol=0, atol=2)
    with pytest.raises(
        InputError, match=r"the target is 29\.73 times as large as the source: are their units the same"
    ):
        find(chair(0), posed(chair(1), rotation, 30.0))


def test_no_turn_is_larger_than_allowed():
    rotation = turns(Z, torch.tensor([math.radians(25)]).double())[0]
    found = find(table(0.6, 0.6, 0), posed(table(0.6, 0.6, 1), rotation), axis=Z, within=40)
    assert len(found.weights) == 1
    assert angles_between(found.rotations, rotation[None]).item() < 4
    found = find(chair(0), posed(chair(1), rotation), axis=Z, within=10)
    assert angles_between(found.rotations, turns(Z, torch.zeros(1).double())).max() <= 10.001
    found = find(chair(0), posed(chair(1), rotation_of(1)), within=20)
    assert angles_between(found.rotations, turns(Z, torch.zeros(1).double())).max() <= 20.001


def test_parts_of_one_object_are_brought_together():
    rotation, one, two = rotation_of(1), chair(0), chair(1)
    left, right = one[one[:, 0] < 0.25], two[two[:, 0] > -0.25]
    found = find(left, posed(right, rotation))
    near = angles_between(found.rotations, rotation[None])[:, 0]
    assert near.min() < 5
    assert len(found.weights) <= 16
    assert 0.9 < found.weights.sum() <= 1 + 1e-9
    assert (found.weights.diff() <= 0).all()


def test_mixtures_and_trees_are_registered_as_clouds_are():
    rotation = turns(Z, torch.tensor([1.0]).double())[0]
    one, two = levels_of(chair(0), "source"), levels_of(posed(chair(1), rotation), "target")
    fine = [
        GaussianMixture.from_mixture(Mixture(each.fine[0], each.fine[1] + each.centre, each.fine[2]))
        for each in (one, two)
    ]
    found = find(*fine, axis=Z)
    assert angles_between(found.rotations[:1], rotation[None]).item() < 2
    pair = fine[0].transform(found.rotation, found.translation)
    assert overlap(pair, fine[1]) > 3 * overlap(fine[0], fine[1])
    labels = torch.arange(fine[0].components) % 8
    trees = [MixtureTree((each.merge(labels), each), (labels,)) for each in fine]
    by_tree = find(*trees, axis=Z)
    torch.testing.assert_close(by_tree.rotation, found.rotation, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_a_thorough_search_finds_the_same_modes(seed):
    rotation = turns(Z, torch.tensor([2.0]).double())[0]
    levels = (
        levels_of(table(0.8, 0.45, 2 * seed), "source"),
        levels_of(posed(table(0.8, 0.45, 2 * seed + 1), rotation), "target"),
    )
    thorough = Effort(240, 240, ((0, 24, 240), (1, 20, 240)), fine=True)
    found, again = search(*levels, axis=Z), search(*levels, axis=Z, effort=thorough)
    heavy = again.weights > 0.05
    assert heavy.sum() == 2
    assert (angles_between(again.rotations[heavy], found.rotations).amin(1) < 1).all()


@pytest.mark.slow
def test_the_modes_are_those_of_brute_force():
    """At the fine mixtures, over 720 turns, with the translation that is best for each."""
    rotation = turns(Z, torch.tensor([2.0]).double())[0]
    source, target = levels_of(table(0.8, 0.45, 0), "source"), levels_of(posed(table(0.8, 0.45, 1), rotation), "target")
    found = search(source, target, axis=Z)
    grid, ones = about(Z, 720), torch.ones(720).double()
    moved = (target.centre - source.centre @ grid.mT).requires_grad_()
    means = source.fine[0], source.fine[1] + source.centre, source.fine[2]
    theirs = target.fine[0], target.fine[1] + target.centre, target.fine[2]
    optimiser = torch.optim.Adam([moved], lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        values = pose_values(means, theirs, grid, moved, ones)
        (-values.sum()).backward()
        optimiser.step()
    values = values.detach()
    peaks = (values > values.roll(1)) & (values >= values.roll(-1)) & (values > values.max() - 0.5)
    heavy = found.weights > 0.05
    assert peaks.sum() == heavy.sum() == 2
    assert (angles_between(found.rotations[heavy], grid[peaks]).amin(1) < 2).all()


def test_turns_are_orthonormal_in_double_precision():
    grid = about(torch.tensor([0.0, 0.0, 1.0]), 72)
    assert_close(grid @ grid.mT, torch.eye(3, dtype=torch.float64).expand_as(grid), rtol=0, atol=1e-15)


def test_grids_and_motions():
    assert len(about(Z, 72)) == 72
    assert angles_between(about(Z, 72), about(Z, 72)[:1]).unique().numel() >= 37
    assert len(about(Z, 72, within=30)) == 13
    grid = everywhere(2000)
    torch.testing.assert_close(grid @ grid.mT, torch.eye(3).double().expand_as(grid))
    assert torch.linalg.det(grid).min() > 0
    apart = angles_between(grid, grid) + 999 * torch.eye(len(grid))
    assert apart.amin(1).max() < 25
    assert angles_between(everywhere(2000, 45), torch.eye(3).double()[None]).max() <= 45
    assert motions(Z, False).shape == (4, 7)
    assert motions(None, True).shape == (7, 7)


@pytest.mark.parametrize(
    ("cloud", "sentence"),
    [
        (torch.zeros(20, 3), "the source has all its points in one place"),
        (torch.eye(3), "the source has 3 different points; a registration needs 8"),
        (torch.full((20, 3), math.nan), "the source has 20 points that are not finite"),
        (torch.zeros(20, 2), r"the source is \[20, 2\], but must be a cloud"),
    ],
)
def test_bad_clouds_are_refused(cloud, sentence):
    with pytest.raises(InputError, match=sentence):
        find(cloud, chair(0))


def test_bad_mixtures_are_refused():
    one = levels_of(chair(0), "source").fine
    mixture = GaussianMixture.from_mixture(Mixture(*one))
    with pytest.raises(InputError, match=r"the target is a mixture \[2, 32\] in 3D, but must be one mixture in 3D"):
        find(chair(0), mixture.expand(2))
