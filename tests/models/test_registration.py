"""Poses and whole objects of partial clouds."""

from __future__ import annotations

import math

import pytest
import torch

from gmcn.errors import InputError
from gmcn.models import RegistrationNetwork, build
from gmcn.models.registration import bell


def network(**options) -> RegistrationNetwork:
    settings = {"latent": 5, "pose": 6, "encoder": [8, 16], "width": 16, "splits": 1}
    return build({"kind": "registration", **settings, **options}, dim=3, seed=0).eval()


def clouds(count: int = 4, points: int = 40) -> torch.Tensor:
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(0))


def test_poses_and_trees_of_clouds():
    answer = network()(clouds())
    assert answer.poses.chances.shape == (4, 72)
    torch.testing.assert_close(answer.poses.chances.exp().sum(-1), torch.ones(4))
    assert answer.poses.translations.shape == (4, 3)
    for tree in (answer.standing, answer.moved):
        assert [(*level.batch_shape, level.components) for level in tree.levels] == [(4, 8), (4, 32)]
    assert not torch.equal(answer.standing.leaves().means, answer.moved.leaves().means)


def test_poses_alone_are_the_same_and_need_no_decoder():
    for options in ({}, {"decoder": False}):
        own = network(**options)
        for one, two in zip(own.poses(clouds()), own(clouds()).poses, strict=True):
            torch.testing.assert_close(one, two)
    assert own(clouds()).standing is own(clouds()).moved is None
    assert own.outputs_and_penalty(clouds())[1] == 0


def test_a_cloud_that_is_moved_takes_its_pose_and_its_whole_along():
    own, shift = network(), torch.tensor([3.0, -2, 5])
    before, after = own(clouds()), own(clouds() + shift)
    torch.testing.assert_close(after.poses.chances, before.poses.chances, rtol=0, atol=1e-4)
    torch.testing.assert_close(after.poses.translations, before.poses.translations + shift, rtol=0, atol=1e-5)
    moved = [answer.moved.leaves().means for answer in (before, after)]
    torch.testing.assert_close(moved[1], moved[0] + shift, rtol=0, atol=1e-4)
    standing = [answer.standing.leaves().means for answer in (before, after)]
    torch.testing.assert_close(standing[1], standing[0], rtol=0, atol=1e-4)


def test_the_angle_lies_in_the_middle_of_the_chances_also_across_zero():
    own, angles = network(), torch.tensor([0.03, -0.04, 3.1, 1.0])
    turn = bell(angles, 72, math.radians(7)).log()
    poses = own._poses(turn, torch.zeros(4, 3))
    away = poses.angles - angles
    assert torch.atan2(away.sin(), away.cos()).abs().max() < math.radians(1)
    torch.testing.assert_close(poses.chances, turn)


def test_a_direction_alone_becomes_chances_around_it():
    own = network(angles=0)
    poses = own._poses(torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), torch.zeros(2, 3))
    torch.testing.assert_close(poses.angles, torch.tensor([math.pi / 2, math.pi]))
    assert poses.chances.argmax(-1).tolist() == [18, 36]
    torch.testing.assert_close(own.turn_loss(poses, torch.tensor([math.pi / 2, 0.0])), torch.tensor([0.0, 2.0]))


def test_the_loss_of_chances_is_least_at_the_truth():
    own, angle = network(), torch.tensor([1.0])
    losses = []
    for wrong in (0.0, 0.1, 0.5, 3.0):
        turn = bell(angle + wrong, 72, 2 * math.pi / 72).clamp(min=1e-6).log()
        losses.append(own.turn_loss(own._poses(turn, torch.zeros(1, 3)), angle).item())
    assert losses == sorted(losses)
    wanted = bell(angle, 72, 2 * math.pi / 72)
    torch.testing.assert_close(losses[0], -(wanted * wanted.clamp(min=1e-6).log()).sum().item(), rtol=1e-3, atol=1e-3)


def test_the_shape_may_be_seen_whatever_the_rotation():
    own = network(neighbours=5)
    turned = clouds() @ torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    shapes = [own.shape_encoder(each - each.mean(1, keepdim=True)) for each in (clouds(), turned)]
    torch.testing.assert_close(shapes[0], shapes[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"angles": 0}, {"decoder": False}])
def test_every_parameter_has_a_gradient(options):
    own = network(**options).train()
    answer, penalty = own.outputs_and_penalty(clouds())
    loss = penalty + own.turn_loss(answer.poses, torch.zeros(4)).sum() + answer.poses.translations.abs().sum()
    for tree in (answer.standing, answer.moved):
        if tree is not None:
            loss = loss - sum(level.log_prob(clouds()).mean() for level in tree.levels)
    loss.backward()
    assert [name for name, parameter in own.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"angles": 3}, "3 angles are too few"), ({"width": 4}, "width"), ({"turn_weight": 0}, "turn_weight")],
)
def test_values_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        network(**options)


def test_data_that_are_no_clouds_in_space_are_refused():
    with pytest.raises(InputError, match="2 dimensions, and poses are those of 3D points"):
        build({"kind": "registration"}, dim=2)
    with pytest.raises(InputError, match=r"are \[4, 40\], but must be \[B, M, 3\]"):
        network()(clouds()[..., 0])
