"""Argument checks of all operations, each a sentence that names both sides; flattening of leading dimensions."""

from __future__ import annotations

import math
import operator

import torch
from torch import Tensor

from gmcn.mixture import Mixture


def check_mixture(
    mixture: Mixture,  # [..., N]
    name: str = "mixture",
) -> Mixture:
    """The mixture itself if its three tensors belong together; else ValueError."""
    weights, positions, covariances = mixture
    for field, tensor in zip(Mixture._fields, mixture, strict=True):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}.{field} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}.{field} must be float32 or float64, got {tensor.dtype}")
        if tensor.dtype != weights.dtype or tensor.device != weights.device:
            raise ValueError(
                f"{name}.{field} ({tensor.dtype}, {tensor.device}) and {name}.weights ({weights.dtype}, "
                f"{weights.device}) must have the same dtype and device"
            )
    dim = positions.shape[-1] if positions.ndim else 0
    if dim not in (2, 3):
        raise ValueError(f"{name}.positions must be [..., N, 2] or [..., N, 3], got {list(positions.shape)}")
    if weights.ndim < 1 or positions.shape != (*weights.shape, dim):
        raise ValueError(
            f"{name}.positions {list(positions.shape)} do not fit {name}.weights {list(weights.shape)}: "
            f"expected {[*weights.shape, dim]}"
        )
    if covariances.shape != (*weights.shape, dim, dim):
        raise ValueError(
            f"{name}.covariances {list(covariances.shape)} do not fit {name}.weights {list(weights.shape)}: "
            f"expected {[*weights.shape, dim, dim]}"
        )
    return mixture


def check_same(first: Tensor, second: Tensor, names: tuple[str, str]) -> None:
    """ValueError unless both tensors have one dtype and one device."""
    if first.dtype != second.dtype or first.device != second.device:
        raise ValueError(
            f"{names[0]} ({first.dtype}, {first.device}) and {names[1]} ({second.dtype}, {second.device}) must have "
            "the same dtype and device"
        )


def check_count(n: int, name: str = "n") -> int:
    """``n`` as a positive int; else ValueError."""
    try:
        count = 0 if isinstance(n, bool) else operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name} must be a positive integer, got {n!r}")
    return count


def check_at_least_zero(**options: float) -> None:
    """ValueError unless every option is a finite number that is not negative."""
    for name, value in options.items():
        if not 0 <= value < math.inf:  # also not-a-number
            raise ValueError(f"{name} must be a finite number that is not negative, got {value}")


def check_cutoff(cutoff: float) -> float:
    """``cutoff`` as a float; ValueError unless it lies in [0, 1)."""
    if not 0 <= cutoff < 1:  # also not-a-number
        raise ValueError(f"cutoff must lie in [0, 1), got {cutoff}")
    return float(cutoff)


def flatten(mixture: Mixture) -> Mixture:
    """Leading dimensions as one: [..., N] -> [B, N]."""
    batch, n, dim = math.prod(mixture.batch_shape), mixture.components, mixture.dim  # -1 is ambiguous where n is 0
    return Mixture(
        mixture.weights.reshape(batch, n),
        mixture.positions.reshape(batch, n, dim),
        mixture.covariances.reshape(batch, n, dim, dim),
    )
