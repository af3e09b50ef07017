"""Points and their masses, as a fit takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.fitting.gmm.expectation import tiles


def check_points(
    x: Tensor,  # [..., M, D]
    weights: Tensor | None,  # [..., M]
    least: int,
) -> Tensor | None:  # [..., M]
    """The masses in the points' dtype, None where all are 1; or one sentence, an :class:`InputError`.

    ``least`` points of each problem must have a mass.
    """
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"fit_gmm: points are {x.dtype if isinstance(x, Tensor) else type(x).__name__}; they must be a tensor of "
            "float32 or float64, such as torch.as_tensor makes of an array"
        )
    if x.dim() < 2 or 0 in x.shape:
        raise InputError(f"fit_gmm: points have shape {list(x.shape)}; they must be [..., points, dimensions], none 0")
    if weights is not None and not isinstance(weights, Tensor):
        raise InputError(f"fit_gmm: weights are {type(weights).__name__}; they must be a tensor, as the points")
    if x.requires_grad or (weights is not None and weights.requires_grad):
        raise InputError("fit_gmm: a fit has no derivative with respect to its points; give x.detach()")
    if weights is not None:
        if weights.shape != x.shape[:-1]:
            raise InputError(
                f"fit_gmm: weights have shape {list(weights.shape)}; points {list(x.shape)} need {list(x.shape[:-1])}"
            )
        weights = weights.to(x)
        bad = ~(weights.isfinite() & (weights >= 0))
        if bad.any():
            raise InputError(f"fit_gmm: the weight at {bad.nonzero()[0].tolist()} is negative or not finite")
    if not all(part.sum().isfinite() for part, _ in tiles(x, None, x.shape[-1])):  # much faster than to ask each
        bad = ~x.isfinite().all(-1)
        if bad.any():
            place = bad.nonzero()[0].tolist()
            raise InputError(f"fit_gmm: the point at {place} has a coordinate that is not finite; remove it")
    if (few := present(x, weights)).min() < least:
        raise InputError(
            f"fit_gmm: {least} components need as many points, and there are {int(few.min())}"
            f"{'' if weights is None else ' of positive weight'}; take fewer components"
        )
    return weights


def present(x: Tensor, mass: Tensor | None) -> Tensor:  # [...]
    """How many points have a mass."""
    if mass is None:
        return torch.full(x.shape[:-2], x.shape[-2], dtype=torch.long, device=x.device)
    return (mass > 0).sum(-1)
