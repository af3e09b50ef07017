"""The golden vectors as mixtures; see tests/golden/README.md for their conventions."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gmcn import Mixture

PATH = Path(__file__).parent.parent / "golden" / "gmcn_2d.npz"
DIM = 2


@functools.cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(PATH) as file:
        return dict(file)


def load(key: str) -> Tensor:
    return torch.from_numpy(_arrays()[key].copy())


def keys(prefix: str, suffix: str) -> list[str]:
    """The part between prefix and suffix of all keys that have both."""
    return [key[: -len(suffix)] for key in _arrays() if key.startswith(prefix) and key.endswith(suffix)]


def unpack(
    tensor: Tensor,  # [..., N, 1 + D + D²]
) -> Mixture:  # [..., N]
    covariances = tensor[..., 1 + DIM :].unflatten(-1, (DIM, DIM))
    return Mixture(tensor[..., 0], tensor[..., 1 : 1 + DIM], covariances)


def pack(
    mixture: Mixture,  # [..., N]
) -> Tensor:  # [..., N, 1 + D + D²]
    return torch.cat((mixture.weights[..., None], mixture.positions, mixture.covariances.flatten(-2)), -1)


def symmetric(
    gradient: Tensor,  # [..., N, 1 + D + D²]
) -> Tensor:
    """The gradient with respect to symmetric covariances."""
    weights, positions, covariances = unpack(gradient)
    return pack(Mixture(weights, positions, (covariances + covariances.mT) / 2))


def pad(
    mixture: Mixture,  # [..., N]
    n: int,
    variance: Tensor,  # []
) -> Mixture:  # [..., n]
    """Filled up to n components as the authors do it."""
    missing = n - mixture.components
    zeros = torch.zeros(*mixture.batch_shape, missing, DIM, dtype=variance.dtype)
    covariances = variance * torch.eye(DIM, dtype=variance.dtype).expand(*zeros.shape, DIM)
    padding = Mixture(zeros[..., 0], zeros, covariances)
    return Mixture(*(torch.cat(pair, len(mixture.batch_shape)) for pair in zip(mixture, padding, strict=True)))


def mean_variance(
    mixture: Mixture,  # [N]
) -> Tensor:  # []
    return mixture.covariances.diagonal(dim1=-2, dim2=-1).mean()


def real_components(
    golden: Tensor,  # [N, 1 + D + D²]
) -> int:
    """Without the padding, which has neither weight nor position."""
    return int(((golden[:, 0] != 0) | (golden[:, 1] != 0)).sum())


def assert_close(actual: Tensor, golden: Tensor, tolerance: float = 1e-9) -> None:
    assert actual.shape == golden.shape
    error = ((actual - golden).abs().max() / golden.abs().max()).item()
    assert error <= tolerance, f"relative error {error:.2g}"


def standardised_mse(truth: Tensor, estimate: Tensor) -> Tensor:
    """Mean squared error after both have been scaled to the truth's standard deviation (unbiased, all entries)."""
    return ((truth - estimate) / truth.std()).square().mean()
