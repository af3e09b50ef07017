"""Values of a mixture at points, equation (2)."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import library
from gmcn.ops.checks import check_mixture, check_same, flatten


def evaluate(
    mixture: Mixture,  # [..., N]
    points: Tensor,  # [..., M, D]
) -> Tensor:  # [..., M]
    """The mixture's value at each point: ``sum_n w_n normal(x; mu_n, C_n)``, GMCN equations (1) and (2).

    Leading dimensions broadcast. Exact: every component counts at every point. Differentiable with respect to
    weights, positions, covariances and points; time is O(N M), memory O(N + M) in both directions.

    Raises ValueError where shapes, dtypes or devices do not fit, and RuntimeError where a covariance is not positive
    definite.
    """
    check_mixture(mixture)
    if points.ndim < 2 or points.shape[-1] != mixture.dim:
        raise ValueError(
            f"points must be [..., M, {mixture.dim}] for a mixture in {mixture.dim}D, got {list(points.shape)}"
        )
    check_same(points, mixture.weights, ("points", "mixture.weights"))
    try:
        batch = torch.broadcast_shapes(mixture.batch_shape, points.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"leading dimensions of points {list(points.shape[:-2])} and of the mixture {list(mixture.batch_shape)} "
            "do not broadcast"
        ) from None
    n, m, dim = mixture.components, points.shape[-2], mixture.dim
    flat = flatten(
        Mixture(
            mixture.weights.expand(*batch, n),
            mixture.positions.expand(*batch, n, dim),
            mixture.covariances.expand(*batch, n, dim, dim),
        )
    )
    values = torch.ops.gmcn.evaluate(*flat, points.expand(*batch, m, dim).reshape(flat.weights.shape[0], m, dim))
    return values.reshape(*batch, m)


@library.fake("evaluate")
def _(weights, positions, covariances, points):
    return weights.new_empty(points.shape[:-1])


@library.fake("evaluate_backward")
def _(gradient, weights, positions, covariances, points, points_gradient):
    of_points = points.new_empty(points.shape if points_gradient else (0, *points.shape[1:]))
    return *(tensor.new_empty(tensor.shape) for tensor in (weights, positions, covariances)), of_points


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, gradient):
    gradients = torch.ops.gmcn.evaluate_backward(gradient, *ctx.saved_tensors, ctx.needs_input_grad[3])
    return tuple(g if needed else None for g, needed in zip(gradients, ctx.needs_input_grad, strict=True))


library.differentiable("evaluate", _setup_context, _backward)
