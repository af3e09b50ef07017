"""What a Gaussian mixture layer computes between its matrix products: moments of activations of normal variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import ndtr


def layer_moments(
    mean: Tensor,  # [K, B]
    variance: Tensor,  # [K, B]
    along: Tensor,  # [K, R, B]
    weights: Tensor,  # [K]
    activation: str,
) -> tuple[Tensor, Tensor]:  # [K, B], [K, R, B]
    """``weights E s(z)`` and ``weights E s'(z) along`` of normal z with variance ``variance + sum_r along_r^2``."""
    value, slope = MOMENTS[activation](mean, variance + along.square().sum(1))
    return weights[:, None] * value, (weights[:, None] * slope)[:, None] * along


def normal_density(t: Tensor) -> Tensor:
    """The standard normal density."""
    return (-t.square() / 2).exp() / math.sqrt(2 * math.pi)


def deviation_of(variance: Tensor) -> Tensor:
    """The root of a variance, with a finite gradient at zero: 1e-6 in float32, 2e-15 in float64."""
    return (variance + 64 * torch.finfo(variance.dtype).eps ** 2).sqrt()


def _linear(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    return mean, torch.ones_like(mean)


def _relu(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    deviation = deviation_of(variance)
    t = mean / deviation
    return mean * ndtr(t) + deviation * normal_density(t), ndtr(t)


def _erf(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    shrink = (1 + 2 * variance).rsqrt()
    return (mean * shrink).erf(), 2 * math.sqrt(2) * shrink * normal_density(math.sqrt(2) * mean * shrink)


def _gelu(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    shrink = (1 + variance).rsqrt()
    h = mean * shrink
    return mean * ndtr(h) + variance * shrink * normal_density(h), ndtr(h) + h * shrink.square() * normal_density(h)


# By activation, E s(z) and E s'(z) of normal z with a mean and a variance.
MOMENTS = {"linear": _linear, "relu": _relu, "erf": _erf, "gelu": _gelu}
