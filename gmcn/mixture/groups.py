"""Groups of components: their weights, weights within them, and their moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance
from gmcn.mixture.tensors import check_values, take


def conditional(
    logits: Tensor,  # [..., N]
    groups: Tensor,  # [N] or [..., N], labels 0 ... G - 1
) -> tuple[Tensor, Tensor]:  # [..., N], [..., G]
    """Logarithms of weights within the groups, and of the groups' weights. Memory G N.

    In a group whose weights are all zero, all count the same.

    Raises:
        ValueError: labels that are no integers, of another shape, negative, or that leave a group without one.
    """
    if not isinstance(groups, Tensor):
        raise ValueError(f"groups must be a tensor of labels, got {type(groups).__name__}")
    if groups.dtype not in (torch.int64, torch.int32) or groups.shape not in (logits.shape[-1:], logits.shape):
        raise ValueError(
            f"groups must be integers {list(logits.shape[-1:])} of 32 or 64 bits, a label for each component, got "
            f"{groups.dtype} {list(groups.shape)}"
        )
    groups = groups.long()
    check_values(groups >= 0, "groups must not be negative")
    count = int(groups.max()) + 1 if groups.numel() else 1
    member = members(groups, count)
    check_values(member.any(-1), "a group has no component: labels must be 0 ... G - 1, each of them used")
    scores = torch.where(member, logits[..., None, :], -math.inf)
    dead = (scores == -math.inf).all(-1)
    total = torch.where(dead[..., None], torch.where(member, 0.0, -math.inf), scores).logsumexp(-1)
    groups = groups.expand(logits.shape)
    within = torch.where(take(dead, groups), 0.0, logits) - take(total, groups)
    return within, torch.where(dead, -math.inf, total)


def members(
    groups: Tensor,  # [..., N]
    count: int,
) -> Tensor:  # [..., G, N]
    """True where a component belongs to a group."""
    return groups[..., None, :] == torch.arange(count, device=groups.device)[:, None]


def merged(
    logits: Tensor,  # [..., N]
    means: Tensor,  # [..., N, D]
    covariance: Covariance,  # [..., N]
    groups: Tensor,  # [N] or [..., N], labels 0 ... G - 1
) -> tuple[Tensor, Tensor, Tensor]:  # [..., G], [..., G, D], [..., G, D, D]
    """Logarithm of the weight, mean and covariance of each group; errors are those of :func:`conditional`."""
    within, weights = conditional(logits, groups)
    shares = torch.where(members(groups, weights.shape[-1]), within.exp()[..., None, :], 0.0)
    return weights, *pooled(shares, means, covariance)


def pooled(
    shares: Tensor,  # [..., G, N], each row with sum one
    means: Tensor,  # [..., N, D]
    covariance: Covariance,  # [..., N]
) -> tuple[Tensor, Tensor]:  # [..., G, D], [..., G, D, D]
    """Mean and covariance of each group. Memory N D² + G N D."""
    centres = shares @ means
    dense = (shares @ covariance.dense().flatten(-2)).unflatten(-1, means.shape[-1:] * 2)
    # Not from second moments, which lose digits far from the origin.
    deltas = means[..., None, :, :] - centres[..., None, :]
    covariances = dense + (shares[..., None] * deltas).mT @ deltas
    return centres, (covariances + covariances.mT) / 2
