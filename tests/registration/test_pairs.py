"""Pairs of the protocol: without a common point, of poses that are known."""

from __future__ import annotations

import pytest
import torch

from gmcn.errors import InputError
from gmcn.registration.pairs import SETTINGS, Setting, draw_pairs
from gmcn.registration.rotations import UPWARDS, angles_between

from .shapes import chair, table

CLOUDS = torch.stack([chair(0)[:1024], chair(1)[:1024], table(0.6, 0.6, 0, 1030)[:1024]])


@pytest.mark.parametrize("setting", [Setting(), Setting(coverage=(0.5, 0.8)), Setting(coverage=(0.7, 0.7), turn="all")])
def test_no_point_is_in_both_and_the_pose_leads_from_one_to_the_other(setting):
    pairs = draw_pairs(CLOUDS, setting, draws=3)
    seen = int(512 * setting.coverage[0])
    assert pairs.sources.shape == pairs.targets.shape == (9, seen, 3)
    assert pairs.objects.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    back = (pairs.targets.double() - pairs.translations[:, None]) @ pairs.rotations
    for source, target, place in zip(pairs.sources.double(), back, pairs.objects, strict=True):
        to_object = torch.cdist(torch.cat([source, target]), CLOUDS[place].double())
        assert to_object.amin(1).max() < 1e-5
        own, other = to_object[:seen].argmin(1), to_object[seen:].argmin(1)
        assert not set(own.tolist()) & set(other.tolist())
        assert len(own.unique()) == seen


def test_the_same_seed_gives_the_same_pairs():
    first, again, other = (draw_pairs(CLOUDS, Setting(noise=0.01), 2, seed) for seed in (0, 0, 1))
    assert torch.equal(first.sources, again.sources)
    assert torch.equal(first.rotations, again.rotations)
    assert not torch.equal(first.sources, other.sources)


def test_turns_are_those_that_are_asked_for():
    none, up = torch.eye(3).double()[None], UPWARDS
    turned = draw_pairs(CLOUDS, Setting(within=30), 200).rotations
    angles = angles_between(turned, none)
    assert 25 < angles.max() <= 30
    torch.testing.assert_close(turned @ up, up.expand(600, 3))
    euler = draw_pairs(CLOUDS, Setting(turn="euler", within=45), 200).rotations
    assert 50 < angles_between(euler, none).max() < 1.75 * 45
    everywhere = angles_between(draw_pairs(CLOUDS, Setting(turn="all"), 200).rotations, none)
    assert everywhere.mean() == pytest.approx(126.5, abs=6)  # of uniform rotations: 90 + 360 / pi² degrees


def test_noise_and_shift():
    quiet, noisy = (draw_pairs(CLOUDS, Setting(noise=noise, shift=0.2), 2) for noise in (0.0, 0.01))
    assert (noisy.sources - quiet.sources).std().item() == pytest.approx(0.01, rel=0.1)
    assert (noisy.targets - quiet.targets).std().item() == pytest.approx(0.01, rel=0.1)
    assert 0.1 < quiet.translations.abs().max() <= 0.2


def test_small_clouds_are_refused():
    with pytest.raises(InputError, match=r"\[2, 20, 3\], but must be \[clouds, 32 points or more, 3\]"):
        draw_pairs(torch.zeros(2, 20, 3), Setting())


@pytest.mark.parametrize("name", SETTINGS)
def test_no_turn_is_above_the_bound_of_its_setting(name):
    setting = SETTINGS[name]
    rotations = draw_pairs(torch.rand(50, 64, 3), setting, 4).rotations
    angles = angles_between(rotations, torch.eye(3).double()[None])[:, 0]
    assert setting.bound / 2 < angles.max() <= setting.bound + 1e-6
    if setting.axis is not None:
        torch.testing.assert_close(rotations @ setting.axis, setting.axis.expand(len(rotations), 3))
