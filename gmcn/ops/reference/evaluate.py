"""Value and integral of a mixture, equations (1) and (2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.precision import full_precision


@full_precision
def log_normal(
    points: Tensor,  # [..., D]
    positions: Tensor,  # [..., D]
    covariances: Tensor,  # [..., D, D]
) -> Tensor:  # [...]
    """Logarithm of the normal density; leading dimensions broadcast."""
    delta = points - positions
    squared = torch.einsum("...i,...ij,...j->...", delta, torch.linalg.inv(covariances), delta)
    return -0.5 * (squared + torch.linalg.slogdet(covariances).logabsdet + points.shape[-1] * math.log(2 * math.pi))


def evaluate(
    mixture: Mixture,  # [..., N]
    points: Tensor,  # [..., M, D]
    *,
    cutoff: float = 0.0,
) -> Tensor:  # [..., M]
    """Values of the mixtures at the points; leading dimensions broadcast.

    ``cutoff`` permits to leave out components below that fraction of their peak, and this twin leaves out none.
    """
    log_values = log_normal(
        points[..., :, None, :], mixture.positions[..., None, :, :], mixture.covariances[..., None, :, :, :]
    )
    return (mixture.weights[..., None, :] * log_values.exp()).sum(-1)


def integrate(
    mixture: Mixture,  # [..., N]
) -> Tensor:  # [...]
    """Integral of each mixture over all space: the sum of its weights."""
    return mixture.weights.sum(-1)
