"""Pairs of clouds whose pose on each other is known: the protocol of docs/registration.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gmcn.data.augmentation import uniform_rotations
from gmcn.data.views import Views, look
from gmcn.errors import InputError
from gmcn.registration.rotations import UPWARDS, turns


@dataclass(frozen=True)
class Setting:
    """How a source and a target are made of one object."""

    coverage: tuple[float, float] = (1.0, 1.0)  # of each half of the points, that a plane of its own keeps
    turn: Literal["up", "all", "euler"] = "up"  # about the axis that points up, any rotation, or three Euler angles
    within: float = 180.0  # degrees of the turn about the axis, or of each Euler angle, which is not negative
    noise: float = 0.0  # standard deviation of each coordinate, cut at 5 times itself
    shift: float = 0.5  # the target is moved by at most so much along each axis

    @property
    def axis(self) -> Tensor | None:  # [3]
        """The axis of all turns, where there is one."""
        return UPWARDS if self.turn == "up" else None

    @property
    def bound(self) -> float:
        """Degrees that no turn is above; three angles of at most 45 degrees turn by at most 78."""
        return {"up": self.within, "all": 180.0, "euler": 1.75 * self.within}[self.turn]


SETTINGS = {
    "up-360": Setting(coverage=(0.5, 0.8)),
    "up-360-full": Setting(),
    "up-360-few": Setting(coverage=(0.3, 0.5)),
    "up-30": Setting(coverage=(0.5, 0.8), within=30),
    "up-360-noise": Setting(coverage=(0.5, 0.8), noise=0.01),
    "all": Setting(coverage=(0.5, 0.8), turn="all"),
    "all-full": Setting(turn="all"),
    "rpm": Setting(coverage=(0.7, 0.7), turn="euler", within=45, noise=0.01),
}


@dataclass(frozen=True)
class Pairs:
    """P pairs, those of one object after each other; ``R source + t`` lies on the target. No point is in both."""

    sources: Tensor  # [P, M, 3]
    targets: Tensor  # [P, M, 3]
    rotations: Tensor  # [P, 3, 3] float64
    translations: Tensor  # [P, 3] float64
    objects: Tensor  # [P] which object


def draw_pairs(
    clouds: Tensor,  # [S, M, 3]
    setting: Setting,
    draws: int = 10,
    seed: int = 0,
) -> Pairs:
    """``draws`` pairs of each object: its points fall into two halves at random, of which a plane each keeps a part.

    Of a part as many points are seen as the smallest part has. Raises InputError for clouds of fewer than 32 points.
    """
    if clouds.ndim != 3 or clouds.shape[2] != 3 or clouds.shape[1] < 32:
        raise InputError(f"clouds to register are {list(clouds.shape)}, but must be [clouds, 32 points or more, 3]")
    generator = torch.Generator().manual_seed(seed)
    objects = torch.arange(len(clouds)).repeat_interleave(draws)
    count, half = len(objects), clouds.shape[1] // 2
    order = torch.rand(count, clouds.shape[1], generator=generator).argsort(-1)
    mixed = clouds[objects].take_along_dim(order[..., None], 1)
    views = Views(points=int(setting.coverage[0] * half), coverage=setting.coverage)
    sources, targets = (look(part, views, generator).points for part in (mixed[:, :half], mixed[:, half : 2 * half]))
    rotations = _rotations(setting, count, generator)
    kind = {"dtype": torch.float64, "generator": generator}
    translations = setting.shift * (2 * torch.rand(count, 3, **kind) - 1)
    spread = [torch.randn(part.shape, **kind).clamp(-5, 5) * setting.noise for part in (sources, targets)]
    targets = targets.double() @ rotations.mT + translations[:, None]
    return Pairs((sources + spread[0]).float(), (targets + spread[1]).float(), rotations, translations, objects)


def _rotations(setting: Setting, count: int, generator: torch.Generator) -> Tensor:  # [count, 3, 3]
    kind = {"dtype": torch.float64, "generator": generator}
    axes = torch.eye(3, dtype=torch.float64)
    reach = math.radians(setting.within)
    if setting.turn == "all":
        return uniform_rotations(torch.rand(count, 3, **kind))
    if setting.turn == "euler":
        angles = reach * torch.rand(3, count, **kind)
        x, y, z = (turns(axis, own) for axis, own in zip(axes, angles, strict=True))
        return z @ y @ x
    return turns(UPWARDS, reach * (2 * torch.rand(count, **kind) - 1))
