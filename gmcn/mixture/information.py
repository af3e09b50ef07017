"""How many numbers a mixture has, and how likely it makes points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.families import Diagonal, LowRank
from gmcn.mixture.tensors import SIZE, check_floats, check_values


def free_parameters(covariance: Covariance) -> int:
    """How many numbers describe the covariances of N components: as scikit-learn counts, where it has the family."""
    count, dim = covariance.shape[-1], covariance.dim
    matrix = dim * (dim + 1) // 2
    if isinstance(covariance, Diagonal):
        spherical = bool((covariance.std == covariance.std[..., :1]).all())
        return count * (1 if spherical else dim)
    if isinstance(covariance, LowRank):
        rank = min(covariance.rank, dim)
        return count * min(
            matrix, dim + dim * rank - rank * (rank - 1) // 2
        )  # a rotation of the factors changes nothing
    tied = isinstance(covariance, Full) and bool((covariance.factor == covariance.factor[..., :1, :, :]).all())
    return matrix if tied else count * matrix


def total_log_prob(
    log_prob: Callable[[Tensor], Tensor],
    x: Tensor,  # [..., M, D]
    weights: Tensor | None,  # [..., M]
    width: int,
) -> tuple[Tensor, Tensor]:  # [...], [...]
    """Sum of weight times ``log_prob`` over the points, and of the weights; ``width`` numbers are made for a point.

    Raises:
        ValueError: no points; weights of another shape, negative or not finite, or whose sum is 0.
    """
    check_floats(x=x)
    if x.ndim < 2:
        raise ValueError(f"x must be [..., M, D], got {list(x.shape)}")
    weights = x.new_ones(x.shape[-2:-1]) if weights is None else weights.to(x)
    if weights.ndim < 1 or weights.shape[-1:] != x.shape[-2:-1]:
        raise ValueError(f"weights {list(weights.shape)} do not fit points {list(x.shape)}: expected [..., M]")
    check_values((weights >= 0) & (weights < math.inf), "weights of points must be finite and not negative")
    mass = weights.sum(-1, dtype=torch.float64)  # sums of many points, of which the criteria need more than 7 digits
    check_values(mass > 0, "no point has a positive weight")
    count = max(1, SIZE // width)
    sums = [
        (torch.where(shares > 0, log_prob(points), 0.0) * shares).sum(-1, dtype=torch.float64)
        for points, shares in zip(x.split(count, -2), weights.split(count, -1), strict=True)
    ]
    return torch.stack(sums).sum(0), mass
