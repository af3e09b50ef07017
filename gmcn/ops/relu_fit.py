"""The dense fit of the transfer function, equations (6) and (7)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_at_least_zero, check_cutoff, check_mixture, flatten


def relu_fit(
    mixture: Mixture,  # [..., N]
    *,
    offset: float = 0.0,
    smoothing: tuple[float, float] = (0.0, 0.0),
    cutoff: float = 0.0,
) -> Mixture:  # [..., N]
    """A mixture that approximates max(0, mixture): the same positions and covariances, new non-negative weights.

    ``a'' = x (max(0, f) + s0) / (g + s1)`` at the centres, with ``x = max(0, a) + offset``, f the mixture with its
    weights a, g the mixture with weights x, and ``(s0, s1) = smoothing``. The defaults are equations (6) and (7) of
    the GMCN paper, where components of non-positive weight get weight 0 and cost nothing; the authors' code has
    offset 0.1 and smoothing (0.05, 0.05). ``cutoff`` is that of :func:`gmcn.ops.evaluate`; 0 is exact. One
    exponential serves f and g. Time is O(N^2), memory O(N).

    Raises ValueError where shapes or options do not fit, and RuntimeError where a covariance is not positive
    definite (on CUDA its mixture's weights become not-a-number).
    """
    check_mixture(mixture)
    weights, _, _ = autograd.call("relu_fit", *flatten(mixture), *check_options(offset, smoothing, cutoff))
    return Mixture(weights.reshape(mixture.weights.shape), mixture.positions, mixture.covariances)


def check_options(offset: float, smoothing: tuple[float, float], cutoff: float) -> tuple[float, float, float, float]:
    """offset, s0, s1 and cutoff; ValueError where the first three are not at least zero or the last not in [0, 1)."""
    if len(smoothing) != 2:
        raise ValueError(f"smoothing must be a pair (s0, s1), got {tuple(smoothing)}")
    check_at_least_zero(offset=offset, s0=smoothing[0], s1=smoothing[1])
    return float(offset), float(smoothing[0]), float(smoothing[1]), check_cutoff(cutoff)


@library.fake("relu_fit")
def _(weights: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return tuple(weights.new_empty(weights.shape) for _ in range(3))


autograd.differentiable("relu_fit", tensors=3, kept=2)
