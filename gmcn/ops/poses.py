"""How much two mixtures overlap when one is turned, scaled and moved, and the ascent to poses where they overlap most.

The overlap ∫ p q dx of two mixtures is the sum over pairs of components of w w' normal(t; mean' - R mean, C' + R C Rᵀ):
a closed form of the pose (R, t), which needs no sample of points. Compiled for the CPU alone: the mixtures of an object
are a few kilobytes. No gradients; :func:`gmcn.overlap` has those of the mixtures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmcn.ops import library

Components = tuple[Tensor, Tensor, Tensor]  # weights [N], means [N, 3], covariances [N, 3, 3]
MOTIONS = 7  # about each axis, along each axis, and the logarithm of a factor


class Ascended(NamedTuple):
    """Where an ascent ended; all in float64."""

    rotations: Tensor  # [P, 3, 3]
    translations: Tensor  # [P, 3]
    scales: Tensor  # [P]
    values: Tensor  # [P] log of the overlap, plus 3/2 log scale
    gradients: Tensor  # [P, K] of the values, by the motions that were free
    curvatures: Tensor  # [P, K, K] minus the second derivatives, of straight motions and covariances that stay


def pose_overlaps(
    source: Components,
    target: Components,
    rotations: Tensor,  # [P, 3, 3]
    translations: Tensor,  # [P, C, 3]
) -> Tensor:  # [P, C]
    """The overlaps of ``R source + t`` with the target for C translations of each of P rotations.

    What needs no translation is computed once for a rotation. Time O(P N N' C).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        RuntimeError: a covariance that is not positive definite.
    """
    _check(source, target, rotations)
    if translations.ndim != 3 or translations.shape[::2] != (len(rotations), 3):
        raise ValueError(f"translations must be [{len(rotations)}, C, 3], got {list(translations.shape)}")
    poses = (each.to(source[1].dtype) for each in (rotations, translations))
    return torch.ops.gmcn.pose_overlaps(*source, *target, *poses)


def ascend_poses(
    source: Components,
    target: Components,
    rotations: Tensor,  # [P, 3, 3]
    translations: Tensor,  # [P, 3]
    scales: Tensor,  # [P]
    motions: Tensor,  # [K, 7]
    steps: int,
    tolerance: float = 1e-6,
) -> Ascended:
    """Poses near the given ones at which ``scale R source + t`` overlaps the target most.

    Each is moved by Levenberg and Marquardt's steps, at most ``steps``, until one gains less than ``tolerance``. A row
    of ``motions`` is a direction that is free: a turn of the world about an axis through the origin of the source's
    means, a translation, the logarithm of a factor. The value to be largest is log ∫ p q dx + 3/2 log scale, of which
    the second makes it the cosine between the densities, but for a constant: else a source would shrink into the
    densest place. 0 steps give value and derivatives at the poses.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        RuntimeError: a covariance that is not positive definite.
    """
    _check(source, target, rotations)
    if translations.shape != (len(rotations), 3) or scales.shape != (len(rotations),):
        raise ValueError(
            f"expected translations [{len(rotations)}, 3] and as many scales, got {list(translations.shape)} and "
            f"{list(scales.shape)}"
        )
    if motions.ndim != 2 or motions.shape[1] != MOTIONS or steps < 0:
        raise ValueError(f"expected motions [K, {MOTIONS}] and steps of 0 or more, got {list(motions.shape)}, {steps}")
    poses = (each.double() for each in (rotations, translations, scales, motions))
    return Ascended(*torch.ops.gmcn.ascend_poses(*source, *target, *poses, steps, tolerance))


def _check(source: Components, target: Components, rotations: Tensor) -> None:
    for name, (weights, means, covariances) in (("source", source), ("target", target)):
        shapes = [list(part.shape) for part in (weights, means, covariances)]
        n = len(weights) if weights.ndim else 0
        if not n or shapes != [[n], [n, 3], [n, 3, 3]]:
            raise ValueError(f"the {name} must be weights [N], means [N, 3] and covariances [N, 3, 3], got {shapes}")
    parts = (*source, *target)
    if {part.device.type for part in (*parts, rotations)} != {"cpu"}:
        raise ValueError("mixtures and poses must be on the CPU")
    if len({part.dtype for part in parts}) > 1 or parts[0].dtype not in (torch.float32, torch.float64):
        raise ValueError("both mixtures must be of float32, or both of float64")
    if rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise ValueError(f"rotations must be [P, 3, 3], got {list(rotations.shape)}")


@library.fake("pose_overlaps")
def _(*parts: Tensor) -> Tensor:
    return parts[1].new_empty(parts[7].shape[:2])


@library.fake("ascend_poses")
def _(*parts: Tensor) -> tuple[Tensor, ...]:
    rotations, motions = parts[6], parts[9]
    poses, free = rotations.shape[0], motions.shape[0]
    shapes = ((poses, 3, 3), (poses, 3), (poses,), (poses,), (poses, free), (poses, free, free))
    return tuple(rotations.new_empty(shape) for shape in shapes)
