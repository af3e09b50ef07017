"""Overlaps of posed mixtures beside plain torch, and the ends of their ascent."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gmcn.data.augmentation import from_quaternions
from gmcn.ops.poses import MOTIONS, ascend_poses, pose_overlaps
from gmcn.ops.reference import poses as twin
from gmcn.registration.rotations import everywhere

FREE = torch.eye(MOTIONS, dtype=torch.float64)


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def components(n: int, seed: int = 0, dtype=torch.float64) -> tuple[torch.Tensor, ...]:
    generator = random(seed)
    factors = 0.2 * torch.randn(n, 3, 3, generator=generator, dtype=torch.float64)
    found = (
        torch.rand(n, generator=generator, dtype=torch.float64).softmax(0),
        0.5 * torch.randn(n, 3, generator=generator, dtype=torch.float64),
        factors @ factors.mT + 0.01 * torch.eye(3),
    )
    return tuple(part.to(dtype) for part in found)


def turned(count: int, seed: int = 0) -> torch.Tensor:  # [P, 3, 3]
    quaternions = torch.randn(count, 4, generator=random(seed), dtype=torch.float64)
    return from_quaternions(quaternions / quaternions.norm(dim=-1, keepdim=True))


def exponential(turn: torch.Tensor) -> torch.Tensor:  # [3] -> [3, 3]
    x, y, z = turn
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row) for row in rows]).matrix_exp()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 9), (8, 8), (25, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_are_those_of_the_twin(n, m, dtype):
    source, target = components(n, 1, dtype), components(m, 2, dtype)
    rotations, translations = turned(3).to(dtype), 0.3 * torch.randn(3, 7, 3, generator=random(3), dtype=dtype)
    expected = twin.pose_overlaps(source, target, rotations, translations)
    found = pose_overlaps(source, target, rotations, translations)
    torch.testing.assert_close(found, expected, rtol=2e-5 if dtype == torch.float32 else 1e-11, atol=0)


def test_weights_of_zero_and_far_poses_count_nothing():
    source, target = components(4, 1), components(5, 2)
    more = tuple(torch.cat([part, part[:1]]) for part in target)
    more[0][-1] = 0
    rotations, near = turned(1), torch.zeros(1, 1, 3, dtype=torch.float64)
    assert torch.equal(pose_overlaps(source, target, rotations, near), pose_overlaps(source, more, rotations, near))
    assert pose_overlaps(source, target, rotations, near + 1e4).eq(0).all()
    ended = ascend_poses(source, target, rotations, near[:, 0] + 1e4, torch.ones(1), FREE, 5)
    assert ended.values.eq(-math.inf).all()
    assert torch.equal(ended.translations, near[:, 0] + 1e4)


@pytest.mark.parametrize("seed", range(3))
def test_values_and_slopes_are_those_of_autograd(seed):
    source, target, rotation = components(5, seed), components(7, seed + 10), turned(1, seed)[0]
    translation, scale = torch.tensor([0.1, -0.2, 0.05]).double(), torch.tensor(1.2).double()

    def value(motion: torch.Tensor) -> torch.Tensor:
        posed = exponential(motion[:3]) @ rotation, translation + motion[3:6], scale * motion[6].exp()
        return twin.pose_values(source, target, *posed)

    none = torch.zeros(MOTIONS, dtype=torch.float64)
    found = ascend_poses(source, target, rotation[None], translation[None], scale[None], FREE, 0)
    torch.testing.assert_close(found.values[0], value(none), rtol=1e-12, atol=1e-12)
    slopes = torch.autograd.functional.jacobian(value, none)
    torch.testing.assert_close(found.gradients[0], slopes, rtol=1e-9, atol=1e-10)
    # Exact for translations: turns and factors bend, and change covariances, which is left out.
    second = -torch.autograd.functional.hessian(value, none)
    torch.testing.assert_close(found.curvatures[0, 3:6, 3:6], second[3:6, 3:6], rtol=1e-9, atol=1e-9)
    some = ascend_poses(source, target, rotation[None], translation[None], scale[None], FREE[[1, 4]], 0)
    torch.testing.assert_close(some.gradients[0], slopes[[1, 4]], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(some.curvatures[0], found.curvatures[0][[1, 4]][:, [1, 4]], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ascent_finds_a_pose_again(dtype):
    source, rotation = components(12, 4, dtype), turned(1, 5)[0]
    translation, scale = torch.tensor([0.3, 0.1, -0.4]).double(), 1.3
    double = [part.double() for part in source]
    target = (
        source[0],
        (scale * double[1] @ rotation.mT + translation).to(dtype),
        (scale**2 * rotation @ double[2] @ rotation.mT).to(dtype),
    )
    start = exponential(torch.tensor([0.1, -0.08, 0.12]).double()) @ rotation
    found = ascend_poses(source, target, start[None], translation[None] + 0.05, torch.tensor([1.2]), FREE, 50, 1e-12)
    near = 2e-4 if dtype == torch.float32 else 1e-6
    torch.testing.assert_close(found.rotations[0], rotation, rtol=0, atol=near)
    torch.testing.assert_close(found.translations[0], translation, rtol=0, atol=near)
    torch.testing.assert_close(found.scales[0].item(), scale, rtol=near, atol=0)
    assert found.gradients.abs().max() < 1e-2
    assert torch.linalg.eigvalsh(found.curvatures[0]).min() > 0


def test_no_step_goes_down_and_what_is_not_free_stays():
    source, target, rotations = components(6, 1), components(7, 2), turned(20, 3)
    translations = 0.5 * torch.randn(20, 3, generator=random(4), dtype=torch.float64)
    values = [
        ascend_poses(source, target, rotations, translations, torch.ones(20), FREE[3:6], steps, 0.0)
        for steps in (0, 1, 2, 5, 20)
    ]
    for before, after in itertools.pairwise(values):
        assert (after.values >= before.values).all()
    assert (values[-1].values > values[0].values + 0.1).any()
    assert torch.equal(values[-1].rotations, rotations)
    assert values[-1].scales.eq(1).all()


def test_threads_change_nothing():
    source, target, rotations = components(9, 1), components(11, 2), everywhere(40)
    translations, threads = torch.zeros(len(rotations), 3, dtype=torch.float64), torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            ended = ascend_poses(source, target, rotations, translations, torch.ones(len(rotations)), FREE, 4)
            found.append((pose_overlaps(source, target, rotations, translations[:, None]), *ended))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_torch_can_see_them():
    source, target, rotations = components(3, 1), components(4, 2), turned(2)
    translations = torch.zeros(2, 5, 3, dtype=torch.float64)
    torch.library.opcheck(torch.ops.gmcn.pose_overlaps.default, (*source, *target, rotations, translations))
    poses = (rotations, translations[:, 0], torch.ones(2, dtype=torch.float64), FREE)
    torch.library.opcheck(torch.ops.gmcn.ascend_poses.default, (*source, *target, *poses, 2, 1e-6))


def test_what_does_not_fit_is_refused():
    source, target, rotations = components(3, 1), components(4, 2), turned(2)
    translations = torch.zeros(2, 5, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"the target must be weights \[N\]"):
        pose_overlaps(source, (target[0][:2], *target[1:]), rotations, translations)
    with pytest.raises(ValueError, match="both mixtures must be of float32, or both of float64"):
        pose_overlaps(source, components(4, dtype=torch.float32), rotations, translations)
    with pytest.raises(ValueError, match=r"translations must be \[2, C, 3\]"):
        pose_overlaps(source, target, rotations, translations[:1])
    with pytest.raises(ValueError, match=r"rotations must be \[P, 3, 3\]"):
        pose_overlaps(source, target, rotations[:, :2], translations)
    with pytest.raises(ValueError, match=r"motions \[K, 7\] and steps of 0 or more"):
        ascend_poses(source, target, rotations, translations[:, 0], torch.ones(2), FREE[:, :6], 1)
    with pytest.raises(ValueError, match=r"translations \[2, 3\] and as many scales"):
        ascend_poses(source, target, rotations, translations[:, 0], torch.ones(3), FREE, 1)
    flat = (*target[:2], target[2] - 10 * torch.eye(3))
    with pytest.raises(RuntimeError, match="a covariance is not positive definite"):
        pose_overlaps(source, flat, rotations, translations)
    with pytest.raises(RuntimeError, match="a covariance is not positive definite"):
        ascend_poses(source, flat, rotations, translations[:, 0], torch.ones(2), FREE, 1)
