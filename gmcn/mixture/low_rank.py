"""Covariances of low rank for groups of components, without a matrix of all dimensions by all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture.families import Diagonal, LowRank

# Rows of a covariance at a time.
ROWS = 64


def principal(
    root: Tensor,  # [..., D, K]
    rank: int,
) -> tuple[Tensor, Tensor]:  # [..., D, R], [..., D, K]
    """A root P of rank R that is nearest to A, and the rest E of A: A Aᵀ = P Pᵀ + E Eᵀ.

    P is A times the first right singular vectors, with columns of zeros where A has fewer. They are held fixed in the
    gradient of P Pᵀ, which is exact where E is 0.
    """
    with torch.no_grad():
        turn = torch.linalg.svd(root, full_matrices=False)[2][..., :rank, :].mT
    kept = root @ turn
    return torch.nn.functional.pad(kept, (0, rank - kept.shape[-1])), root - kept @ turn.mT


def merged_low_rank(
    within: Tensor,  # [..., N], logarithms of shares in the groups
    groups: Tensor,  # [N] or [..., N], labels 0 ... G - 1
    means: Tensor,  # [..., N, D]
    covariance: Diagonal | LowRank,  # [..., N] in D dimensions
    rank: int,
) -> tuple[Tensor, LowRank, Tensor]:  # [..., G, D], [..., G] in D dimensions, [..., G]
    """Means, covariances and relative errors of the groups, one after the other: each has a number of members."""
    lead, count = within.shape[:-1], int(groups.max()) + 1
    factor = covariance.factor if isinstance(covariance, LowRank) else means.new_zeros(*means.shape, 0)
    numbers = [
        tensor.reshape(math.prod(lead), *tensor.shape[len(lead) :])
        for tensor in (within.exp(), means, covariance.std, factor)
    ]
    parts = [
        _pooled(*(tensor[place][labels == group] for tensor in numbers), rank=rank)
        for place, labels in enumerate(groups.expand(within.shape).reshape(-1, within.shape[-1]))
        for group in range(count)
    ]
    centres, std, factor, errors = (
        torch.stack(column).reshape(*lead, count, *column[0].shape) for column in zip(*parts, strict=True)
    )
    return centres, LowRank(std, factor), errors


def _pooled(
    shares: Tensor,  # [C], with sum one
    means: Tensor,  # [C, D]
    std: Tensor,  # [C, D]
    factor: Tensor,  # [C, D, R']
    *,
    rank: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # [D], [D], [D, R], []
    """Mean, std and factor of all, and the relative Frobenius error of their covariance. Memory C (R' + 1) D."""
    alive = shares > 0
    scale = torch.where(alive, torch.where(alive, shares, 1.0).sqrt(), 0.0)[:, None, None]
    mean, own = shares @ means, shares @ std.square()
    root = (scale * torch.cat(((means - mean)[..., None], factor), -1)).movedim(0, 1).flatten(1)  # [D, C (R' + 1)]
    kept, rest = principal(root, rank)
    missed = rest.square().sum(-1)
    error = (_squares(rest, -missed) / _squares(root, own)).sqrt()
    return mean, (own + missed).sqrt(), kept, error


@torch.no_grad()
def _squares(
    root: Tensor,  # [D, K]
    diagonal: Tensor,  # [D]
) -> Tensor:  # []
    """Sum of the squares of all entries of A Aᵀ + diag(d), without a gradient."""
    total = root.new_zeros(())
    for start in range(0, len(root), ROWS):
        rows = root[start : start + ROWS] @ root.mT
        rows.diagonal(start).add_(diagonal[start : start + ROWS])
        total += rows.square().sum()
    return total
