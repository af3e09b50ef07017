"""Adaptation of a mixture to points, with the mixture as what is known of them before: maximum a posteriori by EM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gmcn.declared import above, at_least, read
from gmcn.errors import InputError
from gmcn.mixture.covariance import Full
from gmcn.mixture.density import GaussianMixture
from gmcn.precision import full_precision


@dataclass(frozen=True)
class Adaptation:
    """How :func:`adapt` moves a mixture."""

    relevance: Annotated[float, above(0), "Points that each component of the mixture counts as."] = 0.5
    iterations: Annotated[int, at_least(0), "Iterations of EM."] = 10
    weights: Annotated[bool, "Whether weights move too: not where the points show only a part of what there is."] = True
    floor: Annotated[float, above(0), "Smallest variance along any axis, in squared units of the points."] = 1e-5


@full_precision
@torch.no_grad()
def adapt(
    mixture: GaussianMixture,  # [..., N]
    points: Tensor,  # [..., M, D]
    **options: Any,
) -> GaussianMixture:  # [..., N]
    """The mixture moved to where points are; components that no point belongs to stay, but for the floor.

    Each component counts as ``relevance`` points that lie as it says, so that weights, means and covariances are
    averages of what was known and what is seen (Gauvain and Lee 1994; Reynolds, Quatieri and Dunn 2000 with one
    relevance factor for all). A large relevance leaves the mixture, a small one fits the points alone. The options are
    those of :class:`Adaptation`. Leading dimensions broadcast. Computed in float64; memory M N + (M + N) D².

    Raises:
        InputError: points that are no tensor of float32 or float64, of another shape or not finite, or a number that
            cannot be.
    """
    own = read(Adaptation, options, "adapt")
    if not isinstance(points, Tensor) or points.dtype not in (torch.float32, torch.float64):
        kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise InputError(f"adapt: points are {kind}; they must be a tensor of float32 or float64")
    if points.ndim < 2 or points.shape[-1] != mixture.dim or not points.shape[-2]:
        raise InputError(
            f"adapt: points must be [..., M, {mixture.dim}] with at least one point, not {list(points.shape)}"
        )
    if not points.isfinite().all():
        raise InputError("adapt: a point is not finite; leave it out")
    # About the mixture's mean: second moments far from the origin lose the digits that matter.
    start = mixture.to(torch.float64).expand(*mixture._broadcast(points.shape[:-2], "points"))
    origin = start.mean[..., None, :]
    start = GaussianMixture(start.logits, start.means - origin, start.covariance)
    x, known = points.double() - origin, start.covariance.dense()
    mass = own.relevance * start.components * start.weights
    squares = (x[..., :, None] * x[..., None, :]).flatten(-2)  # [..., M, D D]
    found = start
    for _ in range(own.iterations):
        shares = found.responsibilities(x).mT  # [..., N, M]
        counts, sums = shares.sum(-1), shares @ x
        total = (own.relevance + counts)[..., None]
        means = (own.relevance * start.means + sums) / total
        seen = (shares @ squares).unflatten(-1, known.shape[-2:])
        cross = sums[..., :, None] * means[..., None, :]
        seen = seen - cross - cross.mT + counts[..., None, None] * means[..., :, None] * means[..., None, :]
        moved = start.means - means
        before = known + moved[..., :, None] * moved[..., None, :]
        dense = (own.relevance * before + seen) / total[..., None]
        values, axes = torch.linalg.eigh((dense + dense.mT) / 2)
        dense = axes * values.clamp(min=own.floor)[..., None, :] @ axes.mT
        logits = (mass + counts).log() if own.weights else start.logits
        found = GaussianMixture(logits, means, Full.from_dense((dense + dense.mT) / 2))
    return GaussianMixture(found.logits, found.means + origin, found.covariance).to(points.dtype)
