"""Mixtures that a trained network makes of points, moved to these: the method `pointgmm`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gmcn.errors import InputError, unknown
from gmcn.fitting.gmm.adaptation import adapt
from gmcn.fitting.points import unit_frame
from gmcn.fitting.settings import FLOOR, NETWORK
from gmcn.mixture import GaussianMixture, Mixture

BATCH = 64  # shapes, which bounds memory
STEPS = 10  # of adaptation
OPTIONS = ("method", "variant", "em_steps", "covariance_floor", "seed")

Levels = Callable[[Tensor], Sequence[GaussianMixture]]  # points [S, M, D] to mixtures [S, N] of several sizes


@torch.no_grad()
def fit_by_network(
    levels: Levels,
    points: Tensor,  # [S, M, D]
    n: int,
    *,
    em_steps: int = STEPS,
    covariance_floor: float = FLOOR,
    progress: Callable[[int], None] | None = None,
    **others: Any,
) -> Mixture:  # [S, n]
    """The mixture of ``n`` components among those that a network makes of each shape, moved to its points.

    ``em_steps`` are iterations of :func:`gmcn.fitting.adapt`, with what the network says as what is known before; after
    0 that is the answer. ``covariance_floor`` is added to the variances, in units of the shape's longest side squared.

    Raises:
        InputError: for an option that is none, or a number of components that no level of the network has.
    """
    for option in others:
        if option not in OPTIONS:
            raise unknown(f"option of the fit '{NETWORK}'", option, OPTIONS)
    parts = []
    for part in points.split(BATCH):
        found = {level.components: level for level in levels(part)}
        if n not in found:
            raise InputError(
                f"the network makes mixtures of {', '.join(map(str, found))} Gaussians, not of the {n} `components`"
            )
        moved = adapt(found[n], part, iterations=em_steps).mixture()
        side = unit_frame(part, part.new_ones(part.shape[:2]))[1]  # [S, 1, 1]
        floor = covariance_floor * side.square()[..., None] * torch.eye(moved.dim, dtype=part.dtype, device=part.device)
        parts.append(moved._replace(covariances=moved.covariances + floor))
        if progress is not None:
            progress(len(part))
    return Mixture(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
