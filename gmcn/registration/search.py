"""The poses at which two mixtures overlap most, searched coarse to fine.

The overlap of two mixtures is a closed form of the pose (:mod:`gmcn.ops.poses`), so that poses are compared without a
sample of points, and the ascent to the best ones has exact slopes. On a grid of rotations, each translation that lays
one of the source's coarse components on one of the target's is a candidate; the best ones that differ rise on the
fine mixtures, first blurred and then less so. Nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.ops.poses import Components, ascend_poses, pose_overlaps
from gmcn.registration import rotations
from gmcn.registration.levels import Levels
from gmcn.registration.modes import Registration

MOST = 16  # modes that are told; a search ends with 12 about an axis, and with 24 of all rotations
# All lengths are in units of the root of the two sizes' product or, where a factor is free, of the target's size.
BLURS = (0.005, 0.001)  # variances that are added to all pairs: of the search, and of the end
ALIKE, NEAR = (12.0, 5.0), (0.2, 0.1)  # degrees and lengths below which two poses are one: of starts, and of ends
GAIN = 1e-5  # of a step that ends the ascent
# By which the logarithms of overlaps become those of chances: so that weights are right as often as they say, for parts
# of training chairs (docs/registration.md).
SHARPNESS = 9.0
LEAST = 1e-3  # weight of a mode that is told
ROUNDING, SHORT = 1e-6, 1e-3  # degrees beyond a bound; of the difference of cosines that a turn needs
# An axis is free if the logarithm of the overlap, with the best translation, changes by less than the first in a whole
# turn, and by chance: no wave has this part of its variance. Surfaces of revolution: 0.02 to 0.22, and 0.65 at most; a
# square table 1.1; solid boxes of a square base 0.1, but 0.86 and more of it in one wave (six samples each).
FLAT, WAVE, TURNS, TURNING = 0.4, 0.75, 24, 4  # the last: steps
FINELY = 144  # turns, where what is believed is looked at
TRIED = 5  # modes, whose turns against the heaviest one have axes to try
SIDEWAYS = 15.0  # degrees by which a free axis may miss itself
# Similarity below which two clouds may have nothing in common: docs/registration.md has those of the same
# and of different objects.
LOW = 0.25
UNITS = 20.0  # ratio of sizes from which units are not the same: parts of one object differ by 6 times


@dataclass(frozen=True)
class Effort:
    """How thorough a search is."""

    rotations: int  # of the grid
    starts: int  # the best different poses of it, which rise
    # Of the ascent: which blur, at most so many steps, and how many of the best poses go on.
    stages: tuple[tuple[int, int, int], ...]
    fine: bool = False  # compare the grid's poses on the fine mixtures
    per_rotation: int = 3  # translations


ABOUT = Effort(72, 24, ((0, 4, 12), (0, 16, 12), (1, 20, 12)))
EVERYWHERE = Effort(2000, 160, ((0, 4, 48), (0, 16, 24), (1, 20, 24)))


def search(
    source: Levels,
    target: Levels,
    *,
    axis: Tensor | None = None,  # [3], of length 1
    within: float = 180.0,
    scale: bool = False,
    most: int = MOST,
    effort: Effort | None = None,
    belief: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Registration:
    """The poses at which source and target overlap most, at most ``most`` of them.

    Rotations are those about ``axis`` or, without one, all; at most ``within`` degrees from none. With ``scale`` a
    common factor is free too, from the ratio of the sizes on. ``effort`` is ABOUT or, without an axis, EVERYWHERE.
    ``belief`` gives logarithms of the chances [P] that poses have beforehand, of rotations and translations; it knows
    of no factor, so that it is not for a free scale.

    Raises:
        InputError: sizes that differ by more than 20 times, without ``scale``.
    """
    ratio = target.size / source.size
    if not scale and not 1 / UNITS <= ratio <= UNITS:
        raise InputError(
            f"the target is {ratio:.4g} times as large as the source: are their units the same? Scale one of them, or "
            "let the scale be free (--scale)"
        )
    factor = ratio if scale else 1.0
    unit = target.size if scale else math.sqrt(source.size * target.size)
    coarse, fine = source.scaled(unit / factor)
    coarse_target, fine_target = target.scaled(unit)
    effort = effort or (EVERYWHERE if axis is None else ABOUT)
    if axis is None:
        grid = rotations.everywhere(effort.rotations, within)
    else:
        grid = rotations.about(axis, effort.rotations, within)

    def placed(turned: Tensor, moved: Tensor, scales: Tensor) -> Tensor:  # [P, 3] translations as they are told
        centres = (source.centre[:, None] * scales * factor).mT[:, None]
        return moved * unit + target.centre - (centres @ turned.mT)[:, 0]

    def chances(turned: Tensor, moved: Tensor, scales: Tensor, values: Tensor) -> Tensor:  # [P] logarithms
        logs = SHARPNESS * values
        return logs if belief is None else logs + belief(turned, placed(turned, moved, scales))

    first = (fine, fine_target) if effort.fine else (coarse, coarse_target)
    turned, moved, scales = _starts(first[0], _blurred(first[1], BLURS[0]), grid, effort, chances)
    for blur, steps, few in effort.stages:
        start = (turned, moved, scales)
        likely = None if belief is None else chances
        found = _rise(fine, _blurred(fine_target, BLURS[blur]), start, axis, within, scale, steps, likely)
        keep = distinct(found[0], found[1], chances(*found), ALIKE[1], NEAR[1], few)
        turned, moved, scales, values = (part[keep] for part in found)
    weights = chances(turned, moved, scales, values).softmax(0)
    free_axis, best = None, values.sort(descending=True).values
    if len(best) > 2 and best[0] - best[2] < FLAT:  # else two turns at least fit less well
        free_axis = _free_axis(fine, _blurred(fine_target, BLURS[0]), turned, moved[0], float(scales[0]), axis)
    if free_axis is not None and belief is not None:  # it may know better
        angles = torch.arange(FINELY, dtype=torch.float64) * (2 * math.pi / FINELY)
        around = rotations.turns(free_axis, angles) @ turned[0]
        believed = belief(around, placed(around, moved[:1].expand(FINELY, 3), scales[:1].expand(FINELY)))
        free_axis = None if believed.amax() - believed.amin() > SHARPNESS * FLAT else free_axis
    if free_axis is not None:
        family = _families(turned, moved, free_axis)
        weights = torch.zeros_like(weights).index_add_(0, family, weights)
    told = weights.argsort(descending=True, stable=True)[:most]
    told = told[weights[told] >= LEAST]
    turned, moved, scales, values = (part[told] for part in (turned, moved, scales, values))
    own, theirs = (_self_overlap(each, BLURS[-1]) for each in (fine, fine_target))
    return Registration(
        rotations=turned,
        translations=placed(turned, moved, scales),
        scales=scales * factor,
        weights=weights[told],
        similarities=(values - (own + theirs) / 2).exp().clamp(max=1),
        axis=free_axis,
    )


def _rise(
    source: Components,
    target: Components,
    start: tuple[Tensor, Tensor, Tensor],
    axis: Tensor | None,
    within: float,
    scale: bool,
    steps: int,
    chances: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """Poses and values after an ascent.

    One that would turn too far, or become less likely by ``chances``, keeps the rotation that it started with.
    """
    free = rotations.motions(axis, scale)
    found = ascend_poses(source, target, *start, free, steps, GAIN)[:4]
    none = torch.eye(3, dtype=torch.float64)[None]
    back = rotations.angles_between(found[0], none)[:, 0] > within + ROUNDING
    if chances is not None:  # a flat overlap lets poses drift away from what is believed
        before = pose_overlaps(source, target, start[0], start[1][:, None].float())[:, 0].double().log()
        back |= chances(*found) < chances(*start, before)
    if back.any():
        still = free[free[:, :3].eq(0).all(1)]
        again = ascend_poses(source, target, *(part[back] for part in start), still, steps, GAIN)[:4]
        for part, new in zip(found, again, strict=True):
            part[back] = new
    return found


def distinct(
    turned: Tensor,  # [P, 3, 3]
    moved: Tensor,  # [P, 3]
    values: Tensor,  # [P]
    angle: float,
    length: float,
    most: int,
) -> Tensor:  # [Q] int64
    """The best poses of which no two are alike in both angle and place, best first."""
    order = values.argsort(descending=True, stable=True)
    turns, moves = turned[order].flatten(1).numpy(), moved[order].numpy()
    trace = 1 + 2 * math.cos(math.radians(angle))  # of the rotation from one pose to another that is just not alike
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    while alive.any() and len(kept) < most:
        best = int(alive.argmax())
        kept.append(best)
        alive &= (turns @ turns[best] <= trace) | (((moves - moves[best]) ** 2).sum(1) >= length**2)
        alive[best] = False  # whatever rounding says
    return order[kept]


def _free_axis(
    source: Components, target: Components, turned: Tensor, move: Tensor, scale: float, axis: Tensor | None
) -> Tensor | None:  # [3]
    """The axis through the source's middle about which it may turn and overlaps as well, if there is one.

    Without an ``axis`` the source's principal ones are tried, and those of the turns between the first modes: where two
    principal moments are equal, the principal axes are any. Of a sphere it is one of all axes.
    """
    if axis is None:
        weights, means, covariances = (part.double() for part in source)
        own = (weights[:, None] * means).mT @ means + (weights[:, None, None] * covariances).sum(0)
        principal = (turned[0] @ torch.linalg.eigh(own).eigenvectors).mT
        tried = torch.cat([principal, *(_axis_of(each @ turned[0].mT) for each in turned[1 : 1 + TRIED])])
    else:
        tried = axis[None]
    angles = torch.arange(TURNS, dtype=torch.float64) * (2 * math.pi / TURNS)
    grid = torch.cat([rotations.turns(each, angles) @ turned[0] for each in tried])
    scales = move.new_full((len(grid),), scale)
    moves, only = move.expand(len(grid), 3), rotations.motions(axis, False)[-3:]
    logs = ascend_poses(source, target, grid, moves, scales, only, TURNING, GAIN).values.view(len(tried), TURNS)
    waves = torch.fft.rfft(logs)[:, 1:].abs().square()
    falls = logs.amax(1) - logs.amin(1)
    falls[waves.amax(1) > WAVE * waves.sum(1)] = math.inf
    fall, best = falls.min(0)
    return tried[best] if fall < FLAT else None


def _axis_of(rotation: Tensor) -> Tensor:  # [3, 3] -> [1 or 0, 3]
    """The axis of a turn, if it is one."""
    values, vectors = torch.linalg.eigh((rotation + rotation.mT) / 2)
    return vectors[:, -1:].mT[: int(values[-1] - values[-2] > SHORT)]


def _families(turned: Tensor, moved: Tensor, axis: Tensor) -> Tensor:  # [Q] int64
    """For each pose the first one that it is but for a turn about the axis."""
    family = torch.arange(len(turned))
    for place in range(len(turned)):
        if family[place] == place:
            ends = (turned @ turned[place].mT) @ axis
            same = (ends @ axis > math.cos(math.radians(SIDEWAYS))) & ((moved - moved[place]).norm(dim=-1) < NEAR[0])
            family[same & (family > place)] = place
    return family


def _starts(
    source: Components,
    target: Components,
    grid: Tensor,
    effort: Effort,
    chances: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest poses of the grid that differ: rotations, translations, scales."""
    means = source[1] @ grid.float().mT  # [P, N, 3]
    places = (target[1] - means[:, :, None]).flatten(1, 2)  # [P, N N', 3]
    best, at = pose_overlaps(source, target, grid, places).topk(min(effort.per_rotation, places.shape[1]), dim=1)
    moved = places.gather(1, at[..., None].expand(-1, -1, 3)).flatten(0, 1).double()
    turned = grid.repeat_interleave(best.shape[1], 0)
    scales = torch.ones(len(turned), dtype=torch.float64)
    values = chances(turned, moved, scales, best.flatten().double().log())
    values, first = values.topk(min(10 * effort.starts, len(values)))
    turned, moved, scales = (part[first] for part in (turned, moved, scales))
    keep = distinct(turned, moved, values, ALIKE[0], NEAR[0], effort.starts)
    return turned[keep], moved[keep], scales[keep]


def _blurred(components: Components, blur: float) -> Components:
    weights, means, covariances = components
    return weights, means, covariances + blur * torch.eye(3, dtype=covariances.dtype)


def _self_overlap(components: Components, blur: float) -> Tensor:  # []
    none = torch.eye(3, dtype=torch.float64)[None]
    return pose_overlaps(components, _blurred(components, blur), none, none.new_zeros(1, 1, 3)).double().log()[0, 0]
