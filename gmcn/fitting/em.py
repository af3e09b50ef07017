"""Expectation maximisation on points, as two matrix products with the monomials of degree 0, 1 and 2.

The log-density of a Gaussian is linear in the monomials ``phi(x) = (1, x_a, x_a x_b)``, and so are the sufficient
statistics of the M-step. Points are expected in unit coordinates (longest side 1, centred), in float64: there the
cancellation in ``E[x x^T] - mean mean^T`` costs nothing that float32 results would show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture import Mixture

# A component below this share of the mass has no shape of its own.
EMPTY_MASS = 1e-12


def monomials(points: Tensor) -> Tensor:
    """[..., M, D] -> [..., M, 1 + D + D (D + 1) / 2]: one, the coordinates, their products (upper triangle)."""
    rows, columns = torch.triu_indices(points.shape[-1], points.shape[-1], device=points.device)
    ones = torch.ones_like(points[..., :1])
    return torch.cat([ones, points, points[..., rows] * points[..., columns]], dim=-1)


def m_step(
    statistics: Tensor,  # [S, N, 1 + D + D (D + 1) / 2]
    fallback: Tensor,  # [S, N, D]
    point_covariance: Tensor,  # [S, D, D]
    floor: float,
) -> Mixture:
    """Weights, means and covariances from the sums over points of mass times monomials.

    ``statistics[..., 0]`` are the masses, which sum to one per shape and become the weights.
    ``point_covariance`` is what each point itself extends over (a pixel's square); ``floor`` is added to every
    diagonal. A component without mass gets weight 0, its ``fallback`` position and the mixture's mean covariance.
    """
    dim = fallback.shape[-1]
    mass = statistics[..., 0]
    empty = mass <= EMPTY_MASS
    share = statistics[..., 1:] / mass.clamp_min(EMPTY_MASS)[..., None]
    means = torch.where(empty[..., None], fallback, share[..., :dim])
    second = _symmetric(share[..., dim:], dim)
    identity = torch.eye(dim, dtype=means.dtype, device=means.device)
    covariances = second - means[..., :, None] * means[..., None, :]
    covariances = covariances + point_covariance[:, None] + floor * identity
    weights = torch.where(empty, 0.0, mass)
    weights = weights / weights.sum(-1, keepdim=True)
    average = torch.einsum("sn,snij->sij", weights, torch.where(empty[..., None, None], 0.0, covariances))
    covariances = torch.where(empty[..., None, None], average[:, None], covariances)
    return Mixture(weights, means, covariances)


def log_densities(
    phi: Tensor,  # [S, M, 1 + D + D (D + 1) / 2]
    mixture: Mixture,  # [S, N]
    point_covariance: Tensor | None = None,  # [S, D, D]
) -> Tensor:
    """[S, M, N]: log of weight times density; with a point covariance, its mean over each point's own Gaussian.

    The mean of the log-density over a point of covariance C is the log-density at its centre minus
    ``tr(precision C) / 2`` (Vasconcelos & Lippman 1999, equation 7), which makes EM on points with extent exact.
    """
    dim = mixture.dim
    factors = torch.linalg.cholesky(mixture.covariances)
    precisions = torch.cholesky_inverse(factors)
    linear = (precisions @ mixture.positions[..., None])[..., 0]
    log_det = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = mixture.weights.log() - 0.5 * (
        dim * math.log(2 * math.pi) + log_det + (linear * mixture.positions).sum(-1)
    )
    if point_covariance is not None:
        constant = constant - 0.5 * torch.einsum("snij,sji->sn", precisions, point_covariance)
    rows, columns = torch.triu_indices(dim, dim, device=phi.device)
    # Off-diagonal products stand once in the monomials and twice in the quadratic form.
    factor = torch.where(rows == columns, -0.5, -1.0).to(precisions)
    coefficients = torch.cat([constant[..., None], linear, factor * precisions[..., rows, columns]], dim=-1)
    # log(0) of an empty component would make 0 * inf elsewhere; as a number far below everything it stays inert.
    coefficients = torch.nan_to_num(coefficients, neginf=-1e300)
    return phi @ coefficients.mT


def em_step(
    phi: Tensor,  # [S, M, 1 + D + D (D + 1) / 2]
    mass: Tensor,  # [S, M]
    mixture: Mixture,  # [S, N]
    point_covariance: Tensor,  # [S, D, D]
    floor: float,
) -> Mixture:
    """One soft EM step: responsibilities in log space, then :func:`m_step`."""
    responsibilities = torch.softmax(log_densities(phi, mixture, point_covariance), dim=-1)
    responsibilities *= mass[..., None]
    return m_step(responsibilities.mT @ phi, mixture.positions, point_covariance, floor)


def _symmetric(upper: Tensor, dim: int) -> Tensor:
    """[..., D (D + 1) / 2] upper triangles -> [..., D, D]."""
    rows, columns = torch.triu_indices(dim, dim, device=upper.device)
    full = upper.new_empty(*upper.shape[:-1], dim, dim)
    full[..., rows, columns] = upper
    full[..., columns, rows] = upper
    return full
