"""Random densities of every family; all from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn import GaussianMixture
from gmcn.mixture import Covariance, Diagonal, Frame, Full, LowRank

FAMILIES = ("full", "diagonal", "frame", "low-rank")
SHAPES = ((), (3,), (2, 3))
DIMS = (1, 2, 3, 7, 40)


def parameters(family: str, shape: tuple[int, ...], n: int, dim: int, seed: int = 0) -> list[Tensor]:
    """Free parameters: logits, means, and what :func:`build` makes covariances of."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*shape, n, *sizes, generator=generator, dtype=torch.float64)

    shapes = {
        "full": [(dim, dim)],
        "diagonal": [(dim,)],
        "frame": [(dim, dim), (dim,)],
        "low-rank": [(dim,), (dim, min(dim, 2))],
    }
    return [normal(), 1.5 * normal(dim), *(0.4 * normal(*sizes) for sizes in shapes[family])]


def covariance(family: str, first: Tensor, second: Tensor | None = None) -> Covariance:
    if family == "full":
        return Full(first.tril(-1) + first.diagonal(dim1=-2, dim2=-1).exp().diag_embed())
    if family == "diagonal":
        return Diagonal(first.exp())
    if family == "frame":
        return Frame(torch.linalg.matrix_exp(first - first.mT), (2 * second).exp())
    return LowRank(first.exp(), 2 * second)


def build(family: str, logits: Tensor, means: Tensor, *rest: Tensor) -> GaussianMixture:
    return GaussianMixture(logits, means, covariance(family, *rest))


def density(family: str, shape: tuple[int, ...] = (), n: int = 5, dim: int = 3, seed: int = 0) -> GaussianMixture:
    """Of float64."""
    return build(family, *parameters(family, shape, n, dim, seed))


def points(shape: tuple[int, ...], count: int, dim: int, seed: int = 1) -> Tensor:
    return 2 * torch.randn(*shape, count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(shape: tuple[int, ...], dim: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(*shape, dim, dim, generator=generator, dtype=torch.float64))[0]
