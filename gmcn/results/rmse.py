"""Root mean square errors of a fit, plain and as the authors measure them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.results.seeds import finite_or_none


class ErrorSum:
    """Errors of a fit over any number of batches, in float64 and without keeping values.

    The standardised error is the authors', in tables 3, 10 and 11: truth and estimate, of all samples, channels and
    positions, lose the truth's mean and are divided by its (unbiased) deviation; in the difference the mean cancels.
    """

    def __init__(self) -> None:
        self.count = 0
        self.squared_error = 0.0
        self.mean = 0.0
        self.squared_deviation = 0.0  # sum over (truth - mean)²

    def add(self, truth: Tensor, estimate: Tensor) -> None:  # [...], [...]
        """Add a batch; its moments are merged with those before (Chan, Golub and LeVeque, 1983)."""
        truth, estimate = truth.double(), estimate.double()
        count, mean = truth.numel(), truth.mean().item()
        shift, total = mean - self.mean, self.count + truth.numel()
        self.squared_deviation += (truth - mean).square().sum().item() + shift**2 * self.count * count / total
        self.mean += shift * count / total
        self.count = total
        self.squared_error += (truth - estimate).square().sum().item()

    def result(self) -> dict[str, float | None]:
        """``rmse``, and ``standardised`` (None where the truth is the same everywhere)."""
        mse = self.squared_error / self.count
        variance = self.squared_deviation / (self.count - 1) if self.count > 1 else 0.0
        standardised = math.sqrt(mse / variance) if variance > 0 else math.inf
        return {"rmse": math.sqrt(mse), "standardised": finite_or_none(standardised)}


def random_positions(
    positions: Tensor,  # [B, F, N, D]
    covariances: Tensor,  # [B, F, N, D, D]
    count: int,
    generator: torch.Generator,
) -> Tensor:  # [B, F, count, D]
    """Uniform positions in the box [min(mu - sigma), max(mu + sigma)] of each mixture; drawn on the CPU."""
    deviations = covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    low = (positions - deviations).amin(-2, keepdim=True)
    high = (positions + deviations).amax(-2, keepdim=True)
    shape = (*positions.shape[:-2], count, positions.shape[-1])
    uniform = torch.rand(shape, generator=generator, dtype=positions.dtype, device=generator.device).to(
        positions.device
    )
    return low + uniform * (high - low)
