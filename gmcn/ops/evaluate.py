"""Values of a mixture at points, equation (2)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_cutoff, check_mixture, check_same, flatten


def evaluate(
    mixture: Mixture,  # [..., N]
    points: Tensor,  # [..., M, D]
    *,
    cutoff: float = 0.0,
) -> Tensor:  # [..., M]
    """The mixture's value at each point: ``sum_n w_n normal(x; mu_n, C_n)``, GMCN equations (1) and (2).

    Leading dimensions broadcast. Differentiable with respect to weights, positions, covariances and points; time is
    O(N M), memory O(N + M) in both directions (on the CPU the gradient of points is summed from up to
    16 parts of its size). Exact by default: every component counts at every point. With a
    ``cutoff`` a component may be left out where it has fallen below that fraction of its own peak: 1e-7 is about the
    resolution of float32.

    Raises ValueError where shapes, dtypes or devices do not fit, and RuntimeError where a covariance is not positive
    definite (on CUDA its mixture's values become not-a-number). ``cutoff`` is for the CPU: on CUDA all is exact.
    """
    check_mixture(mixture)
    if points.ndim < 2 or points.shape[-1] != mixture.dim:
        raise ValueError(
            f"points must be [..., M, {mixture.dim}] for a mixture in {mixture.dim}D, got {list(points.shape)}"
        )
    check_same(points, mixture.weights, ("points", "mixture.weights"))
    if points.shape[:-2] != mixture.batch_shape:
        batch = _common_batch(mixture, points)
        if math.prod(mixture.batch_shape) == 1:  # one for all points: nothing of it is copied
            values = evaluate(flatten(mixture), points.reshape(1, -1, mixture.dim), cutoff=cutoff)
            return values.reshape(*batch, points.shape[-2])
        lead = len(mixture.batch_shape)
        mixture = mixture.map(lambda tensor: tensor.expand(*batch, *tensor.shape[lead:]))
        points = points.expand(*batch, *points.shape[-2:])
    m, dim = points.shape[-2:]
    flat = flatten(mixture)
    flat_points = points.reshape(flat.weights.shape[0], m, dim)
    return autograd.call("evaluate", *flat, flat_points, check_cutoff(cutoff)).reshape(points.shape[:-1])


def _common_batch(
    mixture: Mixture,  # [..., N]
    points: Tensor,  # [..., M, D]
) -> torch.Size:
    """The leading dimensions of both, broadcast; ValueError where they do not."""
    try:
        return torch.broadcast_shapes(mixture.batch_shape, points.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"leading dimensions of points {list(points.shape[:-2])} and of the mixture {list(mixture.batch_shape)} "
            "do not broadcast"
        ) from None


@library.fake("evaluate")
def _(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor, cutoff: float) -> Tensor:
    return weights.new_empty(points.shape[:-1])


@library.fake("evaluate_backward")
def _(gradient: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    *mixture, points, _, points_gradient = inputs
    of_points = points.new_empty(points.shape if points_gradient else (0, *points.shape[1:]))
    return *(tensor.new_empty(tensor.shape) for tensor in mixture), of_points


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.cutoff = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    *needed, _ = ctx.needs_input_grad
    gradients = autograd.call("evaluate_backward", gradient, *ctx.saved_tensors, ctx.cutoff, needed[3])
    return *(g if wanted else None for g, wanted in zip(gradients, needed, strict=True)), None


autograd.register("evaluate", _setup_context, _backward)
