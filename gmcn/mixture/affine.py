"""Affine maps of mixtures, and the variances that say how large a mixture is."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.mixture.mixture import Mixture
from gmcn.precision import full_precision


@full_precision
def affine(
    mixture: Mixture,  # [..., N]
    matrix: Tensor,  # [..., D, D]
    shift: Tensor,  # [..., D]
) -> Mixture:  # [..., N]
    """The mixture of the points A x + t: weights stay, positions become A p + t and covariances A C Aᵀ.

    Its value at A x + t is that of ``mixture`` at x, divided by |det A|. Leading dimensions broadcast; ``matrix`` and
    ``shift`` are taken in the mixture's dtype and to its device. The matrix has to be invertible, or covariances are
    no longer positive definite.

    Raises:
        InputError: sizes that do not fit the mixture.
    """
    weights, positions, covariances = mixture
    dim = mixture.dim
    try:
        if matrix.shape[-2:] != (dim, dim) or shift.shape[-1:] != (dim,):
            raise RuntimeError
        shape = torch.broadcast_shapes(mixture.batch_shape, matrix.shape[:-2], shift.shape[:-1])
    except RuntimeError:
        raise InputError(
            f"matrix {list(matrix.shape)} and shift {list(shift.shape)} do not fit a mixture with positions "
            f"{list(positions.shape)}; expected [..., {dim}, {dim}] and [..., {dim}]"
        ) from None
    matrix, shift = matrix.to(positions), shift.to(positions)
    # One product per mixture instead of two for each component: (A C Aᵀ)_ik = sum_jl (A_ij A_kl) C_jl.
    twice = torch.einsum("...ij,...kl->...ikjl", matrix, matrix).flatten(-4, -3).flatten(-2)  # [..., D D, D D]
    covariances = (covariances.flatten(-2) @ twice.mT).unflatten(-1, (dim, dim))
    return Mixture(
        weights.expand(*shape, -1),
        (positions @ matrix.mT + shift[..., None, :]).expand(*shape, -1, -1),
        ((covariances + covariances.mT) / 2).expand(*shape, -1, -1, -1),  # symmetric to the last bit
    )


def rescale(
    mixture: Mixture,  # [..., N]
    scale: Tensor,  # [...]
) -> Mixture:  # [..., N]
    """The mixture in stretched space; its integral stays."""
    scale = scale[..., None, None]
    return Mixture(mixture.weights, mixture.positions * scale, mixture.covariances * scale.square().unsqueeze(-1))


def mean_variance(
    mixture: Mixture,  # [B, F, N]
    over: tuple[int, ...],
    weighted: bool,
) -> Tensor:  # [B, F, N] without the dimensions in ``over``
    """Average trace of the covariances per dimension, over the given dimensions of [B, F, N]."""
    variances = mixture.covariances.diagonal(dim1=-2, dim2=-1).mean(-1)
    if not weighted:
        return variances.mean(over)
    shares = mixture.weights.abs()
    # A channel that is zero everywhere still needs a scale.
    shares = torch.where(shares.sum(over, keepdim=True) > 0, shares, 1.0)
    return (shares * variances).sum(over) / shares.sum(over)


def centre_and_variances(
    mixture: Mixture,  # [..., N]
) -> tuple[Tensor, Tensor]:  # [..., D], [..., D]
    """Centre of mass and variance along each axis of the weights' magnitudes (equal ones where all are 0)."""
    shares = mixture.weights.abs()
    shares = torch.where(shares.sum(-1, keepdim=True) > 0, shares, 1.0)
    shares = (shares / shares.sum(-1, keepdim=True))[..., None]
    centre = (shares * mixture.positions).sum(-2, keepdim=True)
    variances = (mixture.positions - centre).square() + mixture.covariances.diagonal(dim1=-2, dim2=-1)
    return centre[..., 0, :], (shares * variances).sum(-2)


def log_size(
    mixture: Mixture,  # [B, N] or [B, F, N], all channels as one shape
) -> Tensor:  # [B]
    """The mean logarithm of a shape's standard deviations along the axes, in the data's units."""
    if mixture.weights.dim() == 3:
        mixture = mixture.map(lambda tensor: tensor.flatten(1, 2))
    _, variances = centre_and_variances(mixture)
    return variances.clamp(min=torch.finfo(variances.dtype).tiny).log().mean(-1) / 2
