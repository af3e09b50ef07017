"""Shared by both reductions: likelihoods and moments of Gaussians under Gaussians, equations (15) and (16)."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference.evaluate import log_normal
from gmcn.precision import full_precision


def take(
    mixture: Mixture,  # [..., N]
    index: Tensor,  # [..., n] integer
) -> Mixture:  # [..., n]
    """The components with these indices, different ones in each mixture."""
    dim = mixture.dim
    rows = index[..., None]
    return Mixture(
        mixture.weights.gather(-1, index),
        mixture.positions.gather(-2, rows.expand(*index.shape, dim)),
        mixture.covariances.gather(-3, rows[..., None].expand(*index.shape, dim, dim)),
    )


@full_precision
def expected_log_densities(
    target: Mixture,  # [..., N]
    model: Mixture,  # [..., n]
) -> Tensor:  # [..., N, n]
    """Equation (15) for one virtual sample: mean log density of each model component over each target component."""
    at_centres = log_normal(
        target.positions[..., :, None, :], model.positions[..., None, :, :], model.covariances[..., None, :, :, :]
    )
    traces = torch.einsum("...sij,...nji->...ns", torch.linalg.inv(model.covariances), target.covariances)
    return at_centres - 0.5 * traces


@full_precision
def moments(
    parts: Tensor,  # [..., N, n], each column a distribution
    target: Mixture,  # [..., N]
) -> tuple[Tensor, Tensor]:  # [..., n, D], [..., n, D, D]
    """Equation (16): mean and covariance of the target's components in each column's proportions."""
    positions = torch.einsum("...is,...id->...sd", parts, target.positions)
    delta = target.positions[..., :, None, :] - positions[..., None, :, :]  # [..., N, n, D]
    within = torch.einsum("...is,...ijk->...sjk", parts, target.covariances)
    between = torch.einsum("...is,...isj,...isk->...sjk", parts, delta, delta)
    return positions, within + between
