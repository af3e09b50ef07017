"""Rotations in 3D: grids to search on, distances, and the motions that are free. All in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.data.augmentation import from_quaternions
from gmcn.ops.poses import MOTIONS

AXES = {"x": 0, "y": 1, "z": 2}
UPWARDS = torch.eye(3, dtype=torch.float64, device="cpu")[AXES["z"]]  # in ModelNet's clouds, and for networks


def turns(
    axis: Tensor,  # [3], of length 1
    angles: Tensor,  # [P] radians
) -> Tensor:  # [P, 3, 3]
    """Rotations about one axis, by Rodrigues' formula."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    sines, cosines = angles.sin()[:, None, None], angles.cos()[:, None, None]
    return torch.eye(3, dtype=torch.float64) + sines * cross + (1 - cosines) * cross @ cross


def about(
    axis: Tensor,  # [3]
    count: int,
    within: float = 180.0,
) -> Tensor:  # [P, 3, 3]
    """Rotations about one axis that are 360 / ``count`` degrees apart, at most ``within`` degrees from none."""
    reach = math.floor(min(within, 180.0) * count / 360)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)[: count if reach * 2 >= count else None]
    return turns(axis, steps * (2 * math.pi / count))


def everywhere(count: int, within: float = 180.0) -> Tensor:  # [P, 3, 3]
    """Of ``count`` rotations evenly spread over all, those at most ``within`` degrees from none, and none itself.

    Super-Fibonacci spirals (Alexa, CVPR 2022): 2,000 of them are about 15 degrees apart.
    """
    places = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (places / count).sqrt(), (1 - places / count).sqrt()
    first, second = 2 * math.pi * places / math.sqrt(2), 2 * math.pi * places / 1.533751168755204288118041
    spiral = (inner * first.sin(), inner * first.cos(), outer * second.sin(), outer * second.cos())
    none = torch.eye(3, dtype=torch.float64)[None]
    grid = torch.cat([none, from_quaternions(torch.stack(spiral, -1))])
    return grid[angles_between(grid, none)[:, 0] <= within]


def angles_between(first: Tensor, second: Tensor) -> Tensor:  # [P, 3, 3], [Q, 3, 3] -> [P, Q] degrees
    """The angles of the rotations that lead from one to the other."""
    # By the chord 2 √2 sin(angle / 2), whose square is 6 - 2 trace.
    traces = first.flatten(1) @ second.flatten(1).mT
    return torch.rad2deg(2 * ((6 - 2 * traces).clamp(0, 8) / 8).sqrt().asin())


def motions(axis: Tensor | None, scale: bool) -> Tensor:  # [3] -> [K, 7]
    """Directions that :func:`gmcn.ops.poses.ascend_poses` may move in: turns, translations and perhaps a factor."""
    free = torch.eye(MOTIONS, dtype=torch.float64)
    turning = free[:3] if axis is None else torch.cat([axis, axis.new_zeros(4)])[None]
    return torch.cat([turning, free[3 : MOTIONS if scale else MOTIONS - 1]])
