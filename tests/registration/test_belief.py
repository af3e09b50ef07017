"""What a network says of two clouds, beside how well they fit."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from gmcn.registration import levels_of, search
from gmcn.registration.belief import DOUBT, FAR, Belief, believe, composed
from gmcn.registration.rotations import about_z, angles_between, turns

from .shapes import table

Z = torch.tensor([0.0, 0, 1]).double()
COUNT = 72
NONE = torch.zeros(3)


def sure(degrees: float) -> torch.Tensor:  # [72]
    """Chances of one angle alone."""
    chances = torch.full((COUNT,), -torch.inf)
    chances[round(degrees / 5) % COUNT] = 0
    return chances


def test_rotations_about_z_are_those_about_the_axis():
    angles = torch.tensor([0.3, -2.0]).double()
    torch.testing.assert_close(about_z(angles), turns(Z, angles))


def test_the_turn_is_the_difference_of_the_angles():
    belief = Belief((sure(350), NONE), (sure(20), NONE))
    chances = belief.turns().exp()
    assert chances.argmax() == 6  # 30 degrees
    assert chances[6] == pytest.approx(1 - DOUBT + DOUBT / COUNT)
    assert chances.sum() == pytest.approx(1)


def test_chances_of_pairs_of_angles_add_up():
    """Two objects that may each stand either way: the turns 0 and 180 degrees are as likely."""
    either = torch.logaddexp(sure(0), sure(180)) - math.log(2)
    chances = Belief((either, NONE), (either, NONE)).turns().exp()
    assert chances[0] == pytest.approx(chances[36])
    assert chances[0] + chances[36] == pytest.approx(1, abs=DOUBT)


def test_poses_between_angles_and_that_miss_their_place():
    first, second = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 3])
    belief = Belief((sure(0), first), (sure(90), second))
    rotation = turns(Z, torch.tensor([math.pi / 2]).double())
    right = (second.double() - rotation[0] @ first.double())[None]  # [0, 0, 3]
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
    loose = torch.full((COUNT,), -math.log(COUNT))
    loose[round(turn / 5) % COUNT] += 2
    alone = search(*levels, axis=Z)
    found = search(*levels, axis=Z, belief=Belief((sure(0), NONE), (loose.log_softmax(-1), NONE)))
    wanted = turns(Z, torch.tensor([math.radians(turn)]).double())
    assert angles_between(found.rotations[:1], wanted).item() < 6
    assert found.confidence > alone.confidence
    others = angles_between(alone.rotations[alone.weights > 0.1], found.rotations).amin(1)
    assert others.max() < 2


def test_what_a_network_says_is_put_together():
    def poses(points: torch.Tensor) -> SimpleNamespace:
        angle = points[:, 0, 0]
        return SimpleNamespace(
            chances=torch.stack([sure(math.degrees(each)) for each in angle]), angles=angle, translations=points[:, 1]
        )

    network = SimpleNamespace(poses=poses, parameters=lambda: iter([torch.zeros(1)]))
    source = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]).double()
    target = torch.tensor([[math.pi / 2, 0, 0], [0, 0, 1.0]]).double()
    assert believe(network, source, target).turns().argmax() == 18
    matrix = composed(network, source, target)
    torch.testing.assert_close(matrix[:3, :3], turns(Z, torch.tensor([math.pi / 2]).double())[0], rtol=0, atol=1e-6)
    # The source's own place, turned, comes to the target's.
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 0, 0, 1]).double(), torch.tensor([0, 0, 1.0, 1]).double())
