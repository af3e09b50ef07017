"""Every component of one mixture beside every component of another: what distances between mixtures are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import itemgetter
from typing import TypeGuard

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.families import Diagonal, LowRank, explaining_maps
from gmcn.mixture.parameters import Parameters
from gmcn.mixture.tensors import SIZE, mapped


def log_products(
    first: Parameters,  # [..., N]
    second: Parameters,  # [..., N'] with the same leading dimensions
) -> Tensor:  # [..., N, N']
    """Logarithms of ∫ normal(x; mean, C) normal(x; mean', C') dx = normal(mean; mean', C + C'), without weights."""

    def some(part: Parameters) -> Tensor:
        covariance = summed(*crossed(part.covariance, second.covariance))
        deltas = part.means[..., :, None, :] - second.means[..., None, :, :]
        squares = covariance.whiten(deltas[..., None, :]).square().sum((-2, -1))
        return -(squares + covariance.logdet() + first.dim * math.log(2 * math.pi)) / 2

    return _by_parts(some, first, second, _width(first.covariance, second.covariance))


def divergences(
    first: Parameters,  # [..., N]
    second: Parameters,  # [..., N'] with the same leading dimensions
) -> Tensor:  # [..., N, N']
    """Kullback and Leibler's divergences ∫ f log (f / g) of components f of the first from g of the second."""
    own, theirs = first.covariance, second.covariance
    precisions = _precisions(theirs) if _flat(own) and _flat(theirs) else None

    def some(part: Parameters) -> Tensor:
        deltas = part.means[..., None, :, :] - second.means[..., :, None, :]
        return _traces(part.covariance, theirs, precisions) + theirs.whiten(deltas).square().sum(-1).mT

    logs = theirs.logdet()[..., None, :] - own.logdet()[..., :, None]
    return (_by_parts(some, first, second, _width(own, theirs)) - first.dim + logs) / 2


def transport_costs(
    first: Parameters,  # [..., N]
    second: Parameters,  # [..., N'] with the same leading dimensions
) -> Tensor:  # [..., N, N']
    """Squared Bures-Wasserstein distances."""

    def some(part: Parameters) -> Tensor:
        one, two = crossed(part.covariance, second.covariance)
        return (part.means[..., :, None, :] - second.means[..., None, :, :]).square().sum(-1) + one.bures(two)

    diagonal = isinstance(first.covariance, Diagonal) and isinstance(second.covariance, Diagonal)
    return _by_parts(some, first, second, 1 if diagonal else first.covariance.noise + second.covariance.noise)


def crossed(
    first: Covariance,  # [..., N]
    second: Covariance,  # [..., N']
) -> tuple[Covariance, Covariance]:  # [..., N, 1], [..., 1, N']
    """Both in shapes that broadcast to all pairs."""
    place = len(first.shape)
    return mapped(first, lambda tensor: tensor.unsqueeze(place)), mapped(
        second, lambda tensor: tensor.unsqueeze(place - 1)
    )


def summed(
    first: Covariance,  # [..., N]
    second: Covariance,  # of a shape that broadcasts
) -> Covariance:  # [..., N]
    """C + C': of :class:`Diagonal` and :class:`LowRank` nothing is D x D, of others it is :class:`Full`."""
    shape = torch.broadcast_shapes(first.shape, second.shape)
    both = (first, second)
    if _flat(first) and _flat(second):
        std = torch.hypot(first.std, second.std)
        factors = [part.factor.expand(*shape, -1, -1) for part in both if isinstance(part, LowRank)]
        return LowRank(std, torch.cat(factors, -1)) if factors else Diagonal(std)
    return Full.from_root(torch.cat([part.root().expand(*shape, -1, -1) for part in both], -1))


def _flat(covariance: Covariance) -> TypeGuard[Diagonal | LowRank]:
    """True if it needs nothing that is D x D."""
    return isinstance(covariance, Diagonal | LowRank)


def _width(first: Covariance, second: Covariance) -> int:
    """How many vectors [D] a pair takes."""
    noise = first.noise + second.noise
    return 1 + noise - 2 * first.dim if _flat(first) and _flat(second) else noise


def _traces(
    first: Covariance,  # [..., N]
    second: Covariance,  # [..., N']
    precisions: Tensor | None,  # [..., N', D], of the second where nothing is D x D
) -> Tensor:  # [..., N, N']
    """tr C'⁻¹ C, a sum of squares of whitened roots: of diagonal parts without D x D."""
    if precisions is None or not _flat(first):
        return _whitened(first.root(), second)
    own = first.std.square() @ precisions.mT
    return own + _whitened(first.factor, second) if isinstance(first, LowRank) else own


def _whitened(
    roots: Tensor,  # [..., N, D, K]
    covariance: Covariance,  # [..., N']
) -> Tensor:  # [..., N, N']
    """tr C'⁻¹ A Aᵀ."""
    vectors = roots.mT.flatten(-3, -2)[..., None, :, :]  # [..., 1, N K, D]
    return covariance.whiten(vectors).square().sum(-1).unflatten(-1, (-1, roots.shape[-1])).sum(-1).mT


def _precisions(
    covariance: Diagonal | LowRank,
) -> Tensor:  # [..., N, D]
    """The diagonal of C⁻¹."""
    if isinstance(covariance, Diagonal):
        return covariance.std.square().reciprocal()
    # What factors explain of a coordinate, in 0 ... 1: nearly all where its own variance is small, so that 1 - it needs
    # more digits than float32 has.
    exact = mapped(covariance, Tensor.double)
    explained = (explaining_maps(exact)[0] * exact.std[..., None]).square().sum(-1)
    return ((1 - explained).clamp(min=0) / exact.std.square()).to(covariance.std.dtype)


def _by_parts(
    function: Callable[[Parameters], Tensor],
    first: Parameters,  # [..., N]
    second: Parameters,  # [..., N']
    width: int,
) -> Tensor:  # [..., N, N']
    """``function`` of some components of the first at a time, where a pair takes ``width`` vectors [D]."""
    lead, count = len(first.batch_shape), max(1, SIZE // max(1, second.means.numel() * width))
    places = [(*(slice(None),) * lead, slice(start, start + count)) for start in range(0, first.components, count)]
    return torch.cat([function(mapped(first, itemgetter(place))) for place in places], -2)
