"""What a network says of two clouds, beside how well they fit."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from gmcn.errors import InputError
from gmcn.registration import levels_of, search
from gmcn.registration.belief import DOUBT, FAR, Belief, believe, composed
from gmcn.registration.rotations import angles_between, turns

from .shapes import revolved, table

Z = torch.tensor([0.0, 0, 1]).double()
COUNT = 72
NONE = torch.zeros(3).double()


def sure(degrees: float) -> torch.Tensor:  # [72]
    """Chances of one angle alone."""
    chances = torch.full((COUNT,), -torch.inf).double()
    chances[round(degrees / 5) % COUNT] = 0
    return chances


def test_the_turn_is_the_difference_of_the_angles():
    belief = Belief((sure(350), NONE), (sure(20), NONE))
    chances = belief.turns.exp()
    assert chances.argmax() == 6  # 30 degrees
    assert chances[6] == pytest.approx(1 - DOUBT + DOUBT / COUNT)
    assert chances.sum() == pytest.approx(1)


def test_chances_of_pairs_of_angles_add_up():
    """Two objects that may each stand either way: the turns 0 and 180 degrees are as likely."""
    either = torch.logaddexp(sure(0), sure(180)) - math.log(2)
    chances = Belief((either, NONE), (either, NONE)).turns.exp()
    assert chances[0] == pytest.approx(chances[36])
    assert chances[0] + chances[36] == pytest.approx(1, abs=DOUBT)


def test_poses_between_angles_and_that_miss_their_place():
    first, second = torch.tensor([1.0, 0, 0]).double(), torch.tensor([0.0, 1, 3]).double()
    belief = Belief((sure(0), first), (sure(90), second))
    rotation = turns(Z, torch.tensor([math.pi / 2]).double())
    right = (second - rotation[0] @ first)[None]  # [0, 0, 3]
    best = belief(rotation, right)
    near = belief(turns(Z, torch.tensor([math.pi / 2 + math.radians(2.5)]).double()), right)
    assert best > near > belief(turns(Z, torch.zeros(1).double()), right)
    missed, far = belief(rotation, right + 0.1), belief(rotation, right + 1e6)
    assert best > missed > far
    assert (best - far).item() == pytest.approx(FAR)


@pytest.mark.parametrize("quarter", range(4))
def test_it_chooses_among_modes_of_equal_weight(quarter):
    """A square table has four: the one that is believed in is the heaviest, and the others stay."""
    levels = (
        levels_of(table(0.6, 0.6, 0), "source"),
        levels_of(table(0.6, 0.6, 1) @ turns(Z, torch.tensor([0.4]).double())[0].mT, "target"),
    )
    turn = math.degrees(0.4) + 90 * quarter
    loose = torch.full((COUNT,), -math.log(COUNT)).double()
    loose[round(turn / 5) % COUNT] += 2
    alone = search(*levels, axis=Z)
    found = search(*levels, axis=Z, belief=Belief((sure(0), NONE), (loose.log_softmax(-1), NONE)))
    wanted = turns(Z, torch.tensor([math.radians(turn)]).double())
    assert angles_between(found.rotations[:1], wanted).item() < 6
    assert found.confidence > alone.confidence
    others = angles_between(alone.rotations[alone.weights > 0.1], found.rotations).amin(1)
    assert others.max() < 2


def test_what_a_network_says_is_put_together():
    def poses(points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        angle = points[:, 0, 0]
        return torch.stack([sure(math.degrees(each)) for each in angle]), angle, points[:, 1]

    network = SimpleNamespace(poses=poses, parameters=lambda: iter([torch.zeros(1)]))
    source, target = (
        torch.tensor([[angle, 0, 0], place, [-angle - place[0], -place[1], -place[2]]]).double()  # its mean is 0
        for angle, place in ((0.0, (1.0, 0, 0)), (math.pi / 2, (0.0, 0, 1)))
    )
    assert believe(network, source, target).turns.argmax() == 18
    matrix = composed(network, source, target)
    torch.testing.assert_close(matrix[:3, :3], turns(Z, torch.tensor([math.pi / 2]).double())[0], rtol=0, atol=1e-6)
    # The source's own place, turned, comes to the target's.
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 0, 0, 1]).double(), torch.tensor([0, 0, 1.0, 1]).double())


def test_far_from_the_origin_a_network_says_the_same():
    def poses(points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        assert points.dtype == torch.float32
        return sure(5)[None], points[:, 0, 0], points[:, 1]

    network = SimpleNamespace(poses=poses, parameters=lambda: iter([torch.zeros(1)]))
    cloud = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
    shift = torch.tensor([5e8, -4e7, 100.0]).double()
    near, far = (believe(network, cloud, cloud + offset) for offset in (0, shift))
    torch.testing.assert_close(far.target[1] - near.target[1], shift, rtol=0, atol=1e-6)
    moved = composed(network, cloud, cloud + shift)
    torch.testing.assert_close(moved[:3, 3], composed(network, cloud, cloud)[:3, 3] + shift, rtol=0, atol=1e-6)


def test_what_is_not_finite_is_refused():
    none = torch.full((1, COUNT), torch.nan)
    answer = none, torch.zeros(1), torch.zeros(1, 3)
    network = SimpleNamespace(poses=lambda points: answer, parameters=lambda: iter([torch.zeros(1)]))
    cloud = torch.zeros(3, 3)
    for function in (believe, composed):
        with pytest.raises(InputError, match="says of the source is not finite; train it again"):
            function(network, cloud, cloud)


def test_a_free_axis_is_none_where_the_turn_is_believed_in():
    tube = revolved(lambda height: 0.3 + 0 * height + 0.2 * (height > 0.8))
    levels = levels_of(tube, "source"), levels_of(revolved(lambda height: 0.3 + 0.2 * (height > 0.8), seed=1), "target")
    even = torch.full((COUNT,), -math.log(COUNT)).double()
    assert search(*levels, axis=Z).axis is not None
    assert search(*levels, axis=Z, belief=Belief((even, NONE), (even, NONE))).axis is not None
    found = search(*levels, axis=Z, belief=Belief((sure(0), NONE), (sure(40), NONE)))
    assert found.axis is None
    assert found.angles[0].item() == pytest.approx(40, abs=6)
