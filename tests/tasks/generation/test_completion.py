"""Errors of completed clouds."""

from __future__ import annotations

import pytest
import torch

from gmcn.data.views import Planes, Views, look
from gmcn.errors import InputError
from gmcn.tasks.generation.measures_of_clouds import chamfer
from gmcn.tasks.generation.measures_of_completion import completion_errors, nearest_objects
from tests.tasks.generation.test_clouds import pairwise, shapes

CLOUDS, OTHERS = shapes(4, 60), shapes(4, 50, seed=1)
SEEN = look(CLOUDS, Views(points=20, coverage=(0.3, 0.7)), torch.Generator().manual_seed(0))
VIEW = {"kept": SEEN.kept, "planes": SEEN.planes}


def test_the_missing_part_and_the_whole_by_hand():
    found = completion_errors(OTHERS, CLOUDS, **VIEW)
    heights = (OTHERS.double() * SEEN.planes.normals[:, None]).sum(-1)
    for i in range(4):
        missing = CLOUDS[i][~SEEN.kept[i]][None]
        predicted = OTHERS[i][heights[i] <= SEEN.planes.offsets[i]][None]
        for name, squared in (("", True), ("_unsquared", False)):
            part = chamfer(missing, predicted, squared=squared).item()
            assert found[f"chamfer{name}"][i].item() == pytest.approx(part)
            whole = chamfer(CLOUDS[i : i + 1], OTHERS[i : i + 1], squared=squared).item()
            assert found[f"whole{name}"][i].item() == pytest.approx(whole)
    assert {value.dtype for value in found.values()} == {torch.float64}


def test_the_object_itself_is_without_error():
    assert all(value.eq(0).all() for value in completion_errors(CLOUDS.flip(1), CLOUDS, **VIEW).values())


def test_an_answer_that_has_nothing_beside_the_plane_is_judged_by_what_is_nearest_to_it():
    cloud = torch.tensor([[[0.0, 0, float(z)] for z in range(-4, 5)]])
    planes = Planes(torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.tensor([0.0]).double())
    answer = torch.tensor([[[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]]])
    found = completion_errors(answer, cloud, cloud[..., 2] > 0, planes)
    # From 0 to -4 to the point at 2, and from it to 0.
    assert found["chamfer_unsquared"].item() == pytest.approx(4 + 2)
    assert found["chamfer"].item() == pytest.approx((4 + 9 + 16 + 25 + 36) / 5 + 4)


def test_the_nearest_object_is_that_with_least_cost_from_what_is_seen():
    training = torch.cat([shapes(7, 50, seed=2), CLOUDS[2:3, :50] * 1.01])
    costs = [[pairwise(view, one).amin(1).square().mean() for one in training] for view in SEEN.points]
    assert nearest_objects(SEEN.points, training).tolist() == torch.tensor(costs).argmin(1).tolist()
    # What an object has besides costs nothing.
    more = torch.cat([SEEN.points, shapes(4, 30, seed=3) + 3], 1)
    assert nearest_objects(SEEN.points, more).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": OTHERS[:3]}, r"3 completed clouds and views \[4, 60\] do not belong to clouds \[4, 60, 3\]"),
        ({"kept": SEEN.kept[:, :9]}, r"views \[4, 9\] do not belong"),
        (
            {"kept": torch.arange(4)[:, None].expand(4, 60) > 1},
            "nothing is missing of cloud 2 .*a coverage below 1",
        ),
        ({"predicted": OTHERS * torch.nan}, "4 of 4 clouds to compare have points that are not finite"),
    ],
)
def test_what_cannot_be_measured(change, message):
    with pytest.raises(InputError, match=message):
        completion_errors(**{"predicted": OTHERS, "points": CLOUDS, **VIEW, **change})
