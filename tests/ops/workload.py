"""Random mixtures for the tests and benchmarks of the operations; every one from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn import Mixture


def random_mixture(
    shape: tuple[int, ...],
    components: int,
    dim: int,
    *,
    seed: int = 0,
    positive: bool = False,
    spread: float = 1.5,
    smallest: float = 0.1,
    largest: float = 1.0,
) -> Mixture:  # [*shape, N], float64
    """Rotated covariances, variances from ``smallest`` to ``largest``; weights of mixed sign unless positive."""
    generator = torch.Generator().manual_seed(seed)
    full = (*shape, components)
    weights = torch.randn(full, generator=generator, dtype=torch.float64)
    positions = spread * torch.randn(*full, dim, generator=generator, dtype=torch.float64)
    axes = random_rotation(dim, shape=full, generator=generator)
    exponents = torch.rand(*full, dim, generator=generator, dtype=torch.float64)
    variances = smallest * (largest / smallest) ** exponents
    covariances = (axes * variances[..., None, :]) @ axes.mT
    # Float32 inputs are what operations meet; float64 runs see the same numbers.
    rounded = Mixture(weights.abs() + 0.05 if positive else weights, positions, (covariances + covariances.mT) / 2)
    return rounded.map(lambda tensor: tensor.float().double())


def random_rotation(
    dim: int, *, shape: tuple[int, ...] = (), generator: torch.Generator | None = None
) -> Tensor:  # [*shape, D, D]
    generator = generator or torch.Generator().manual_seed(5)
    return torch.linalg.qr(torch.randn(*shape, dim, dim, generator=generator, dtype=torch.float64))[0]


def random_points(shape: tuple[int, ...], count: int, dim: int, seed: int = 1) -> Tensor:  # [*shape, M, D]
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, count, dim, generator=generator, dtype=torch.float64)).float().double()


def transformed(
    mixture: Mixture,  # [..., N]
    *,
    rotation: Tensor | None = None,  # [D, D]
    scale: float = 1.0,
    shift: Tensor | float = 0.0,  # [D]
) -> Mixture:  # [..., N]
    """The mixture moved with space; integrals stay."""
    rotation = torch.eye(mixture.dim, dtype=mixture.weights.dtype) if rotation is None else rotation
    matrix = scale * rotation
    return Mixture(
        mixture.weights,
        mixture.positions @ matrix.mT + shift,
        matrix @ mixture.covariances @ matrix.mT,
    )


def moments(
    mixture: Mixture,  # [..., N]
) -> tuple[Tensor, Tensor, Tensor]:  # [...], [..., D], [..., D, D]
    """Integral of a mixture f, and those of x f(x) and x xᵀ f(x)."""
    weights, positions, covariances = mixture
    second = covariances + positions[..., :, None] * positions[..., None, :]
    return (
        weights.sum(-1),
        (weights[..., None] * positions).sum(-2),
        (weights[..., None, None] * second).sum(-3),
    )


def plain_values(
    mixture: Mixture,  # [N]
    point: Tensor,  # [D]
) -> float:
    """Equations (1) and (2) for one point, one component at a time."""
    total = 0.0
    for weight, position, covariance in zip(*mixture, strict=True):
        delta = point - position
        exponent = -0.5 * float(delta @ torch.linalg.solve(covariance, delta))
        total += float(weight) * math.exp(exponent) / math.sqrt(float((2 * math.pi * covariance).det()))
    return total
