"""Covariances of some coordinates, and of the others where these are known, each in its family where that has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full, triangle
from gmcn.mixture.families import Diagonal, LowRank, explaining_maps


def coordinates(dims: Sequence[int], dim: int) -> tuple[list[int], list[int]]:
    """The coordinates that ``dims`` names, counted from 0, and the others in their order.

    Raises:
        ValueError: none, one twice, or one that does not exist.
    """
    named = [int(place) for place in dims]
    known = [place % dim for place in named]
    if not known or len(set(known)) < len(known) or not all(-dim <= place < dim for place in named):
        raise ValueError(f"dims must name different coordinates in {-dim} ... {dim - 1}, at least one, got {named}")
    return known, sorted(set(range(dim)) - set(known))


def block(
    covariance: Covariance,  # [..., N] in D dimensions
    dims: list[int],
) -> Covariance:  # [..., N] in as many as are named
    """The covariances of some coordinates."""
    if isinstance(covariance, Diagonal):
        return Diagonal(covariance.std[..., dims])
    if isinstance(covariance, LowRank):
        return LowRank(covariance.std[..., dims], covariance.factor[..., dims, :])
    return Full.from_root(covariance.root()[..., dims, :])


def conditioned(
    covariance: Covariance,  # [..., N] in D dimensions
    known: list[int],
    others: list[int],
    deltas: Tensor,  # [..., N, K], of known coordinates from their means
) -> tuple[Tensor, Covariance]:  # [..., N, D - K], [..., N] in D - K dimensions
    """By how much the means of the others move, and the covariances that are left to them. No matrix is inverted."""
    if isinstance(covariance, Diagonal):
        return deltas.new_zeros(len(others)), Diagonal(covariance.std[..., others])
    if isinstance(covariance, LowRank):
        # The factors, given the known coordinates, have the covariance (1 + Vᵀ V)⁻¹ = T⁻ᵀ T⁻¹.
        maps, small = explaining_maps(LowRank(covariance.std[..., known], covariance.factor[..., known, :]))
        factor = torch.linalg.solve_triangular(small.mT, covariance.factor[..., others, :], upper=True, left=False)
        return (factor @ (maps.mT @ deltas[..., None]))[..., 0], LowRank(covariance.std[..., others], factor)
    lower, count = triangle(covariance.root()[..., [*known, *others], :]), len(known)
    white = torch.linalg.solve_triangular(lower[..., :count, :count], deltas[..., None], upper=False)
    return (lower[..., count:, :count] @ white)[..., 0], Full(lower[..., count:, count:])
