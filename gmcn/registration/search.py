"""The poses at which two mixtures overlap most, searched coarse to fine.

The overlap of two mixtures is a closed form of the pose (:mod:`gmcn.ops.poses`), so that poses are compared without a
sample of points, and the ascent to the best ones has exact slopes. On a grid of rotations, each translation that lays
one of the source's coarse components on one of the target's is a candidate; the best ones that differ rise on the
fine mixtures, first blurred and then less so. Nothing is drawn at random.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.ops.poses import Components, ascend_poses, pose_overlaps
from gmcn.registration import rotations
from gmcn.registration.levels import Levels
from gmcn.registration.modes import Registration

MOST = 16  # modes that are told
# All lengths are in units of the root of the two sizes' product.
BLURS = (0.012, 0.002)  # variances that are added to all pairs
STEPS = (20, 20)
ALIKE, NEAR = (12.0, 5.0), (0.2, 0.1)  # degrees and lengths below which two poses are one: of starts, and of ends
ABOUT, EVERYWHERE = 72, 2000  # rotations of a grid: about an axis, and all
STARTS, STARTS_EVERYWHERE = 24, 64
PER_ROTATION = 3
GAIN = 1e-5  # of a step that ends the ascent
# By which the logarithms of overlaps become those of chances: chosen on training objects (docs/registration.md).
SHARPNESS = 12.0
LEAST = 1e-3  # weight of a mode that is told
UNITS = 5.0  # ratio of sizes from which units are not the same


def search(
    source: Levels,
    target: Levels,
    *,
    axis: Tensor | None = None,  # [3], of length 1
    within: float = 180.0,
    scale: bool = False,
    most: int = MOST,
) -> Registration:
    """The poses of the source on the target, at most ``most`` of them.

    Rotations are those about ``axis`` or, without one, all; at most ``within`` degrees from none. With ``scale`` a
    common factor is free too, from the ratio of the sizes on.

    Raises:
        InputError: sizes that differ by more than 5 times, without ``scale``.
    """
    ratio = target.size / source.size
    if not scale and not 1 / UNITS <= ratio <= UNITS:
        raise InputError(
            f"the target is {ratio:.3g} times as large as the source: are their units the same? Scale one of them, or "
            "let the scale be free"
        )
    factor = ratio if scale else 1.0
    unit = target.size if scale else math.sqrt(source.size * target.size)
    coarse, fine = source.scaled(unit / factor, source.centre)
    coarse_target, fine_target = target.scaled(unit, target.centre)
    grid = rotations.everywhere(EVERYWHERE, within) if axis is None else rotations.about(axis, ABOUT, within)
    starts = STARTS_EVERYWHERE if axis is None else STARTS
    turned, moved = _starts(coarse, _blurred(coarse_target, BLURS[0]), grid, starts)
    free, scales = rotations.motions(axis, scale), torch.ones(len(turned), dtype=torch.float64)
    for blur, steps in zip(BLURS, STEPS, strict=True):
        found = ascend_poses(fine, _blurred(fine_target, blur), turned, moved, scales, free, steps, GAIN)
        keep = distinct(found.rotations, found.translations, found.values, ALIKE[1], NEAR[1], len(turned))
        turned, moved, scales, values = (part[keep] for part in found[:4])
    inside = rotations.angles_between(turned, torch.eye(3, dtype=torch.float64)[None])[:, 0] <= within + ALIKE[1]
    turned, moved, scales, values = (part[inside] for part in (turned, moved, scales, values))
    weights = (SHARPNESS * values).softmax(0)
    told = (weights >= LEAST).nonzero()[:most, 0]
    turned, moved, scales, values = (part[told] for part in (turned, moved, scales, values))
    own, theirs = (_self_overlap(each, BLURS[-1]) for each in (fine, fine_target))
    whole = scales * factor
    centre = (source.centre[:, None] * whole).mT[:, None]
    return Registration(
        rotations=turned,
        translations=moved * unit + target.centre - (centre @ turned.mT)[:, 0],
        scales=whole,
        weights=weights[told] / weights[told].sum(),
        similarities=(values - (own + theirs) / 2).exp().clamp(max=1),
    )


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
    turned, moved = turned[order], moved[order]
    alike = (rotations.angles_between(turned, turned) < angle) & (torch.cdist(moved, moved) < length)
    rows, alive = alike.numpy(), np.ones(len(order), dtype=bool)
    kept: list[int] = []
    while alive.any() and len(kept) < most:
        kept.append(int(alive.argmax()))
        alive &= ~rows[kept[-1]]
    return order[kept]


def _starts(source: Components, target: Components, grid: Tensor, most: int) -> tuple[Tensor, Tensor]:
    means = source[1] @ grid.float().mT  # [P, N, 3]
    places = (target[1] - means[:, :, None]).flatten(1, 2)  # [P, N N', 3]
    best, at = pose_overlaps(source, target, grid, places).topk(min(PER_ROTATION, places.shape[1]), dim=1)
    moved = places.gather(1, at[..., None].expand(-1, -1, 3)).flatten(0, 1)
    values, first = best.flatten().topk(min(10 * most, best.numel()))
    turned, moved = grid[first // best.shape[1]], moved[first].double()
    keep = distinct(turned, moved, values, ALIKE[0], NEAR[0], most)
    return turned[keep], moved[keep]


def _blurred(components: Components, blur: float) -> Components:
    weights, means, covariances = components
    return weights, means, covariances + blur * torch.eye(3, dtype=covariances.dtype)


def _self_overlap(components: Components, blur: float) -> Tensor:  # []
    none = torch.eye(3, dtype=torch.float64)[None]
    return pose_overlaps(components, _blurred(components, blur), none, none.new_zeros(1, 1, 3)).double().log()[0, 0]
