"""Equation (1) of :mod:`gmcn.nn.gaussian_mixture_layer` and its gradient, written down once each.

Autograd would go over means and factors several times, once for each slice of them. By hand, each gradient is written
once, into its place. For G = dF/df [B, o], and with s for p times the activation, it is

    A = m_v Gᵀ,    C = u_v Gᵀ,    S = Σ_r C (uᵀx)
    dF/d(m_w·x) = A E s' + S E s'',    D = 2 dF/d(variance) = A E s'' + S E s''',    dF/d(uᵀx) = C E s' + (uᵀx) D

because a variance acts like half a second derivative: dE s/d(variance) = E s''/2 (the heat equation). Components come
first, [K, B] and [K, R, B], so that what is the same for all R of them is a row and not a number.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor

from gmcn.nn.activations import Activation
from gmcn.ops.autograd import transformed
from gmcn.ops.layer_moments import code

log = logging.getLogger(__name__)
_FORWARD, _BACKWARD = torch.ops.gmcn.layer_moments.default, torch.ops.gmcn.layer_moments_backward.default


def mean_answer(
    x: Tensor,  # [B, i], with a column of ones where there is a bias
    weights: Tensor,  # [K]
    means: Tensor,  # [K, i + o]
    stds: Tensor | None,  # [K, i]
    factors: Tensor,  # [K, R, i + o]
    activation: Activation,
) -> Tensor:  # [B, o]
    """Equation (1), by :class:`MeanAnswer` wherever that is possible."""
    if (
        not activation.closed
        or torch.compiler.is_compiling()
        or not _has_kernels(x.device.type, x.dtype)
        or torch.is_autocast_enabled(x.device.type)
        or transformed()
    ):
        return by_definition(x, weights, means, stds, factors, activation)
    return MeanAnswer.apply(activation, x, weights, means, stds, factors)


def by_definition(
    x: Tensor,  # all as in mean_answer
    weights: Tensor,
    means: Tensor,
    stds: Tensor | None,
    factors: Tensor,
    activation: Activation,
) -> Tensor:  # [B, o]
    """Equation (1) for autograd, torch.compile and autocast."""
    mean, variance, along = projected(x, means, stds, factors)
    first, slope = activation.moments(mean, variance)
    outer = factors.flatten(0, 1)[:, x.shape[-1] :]
    return (first * weights) @ means[:, x.shape[-1] :] + (along * (slope * weights)[..., None]).flatten(-2) @ outer


def projected(
    x: Tensor,  # [..., i]
    means: Tensor,  # all others as in mean_answer
    stds: Tensor | None,
    factors: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # [..., K], [..., K], [..., K, R]
    """Mean and variance of w·x, and uᵀx of each factor; in float32 under autocast."""
    inner = x.shape[-1]
    mean = x @ means[:, :inner].mT
    along = (x @ factors.flatten(0, 1)[:, :inner].mT).unflatten(-1, factors.shape[:2])
    if torch.is_autocast_enabled(x.device.type):  # squares and tails need the digits
        mean, along = mean.float(), along.float()
    variance = along.square().sum(-1)
    return mean, variance if stds is None else variance + x.square() @ stds.square().mT, along


class MeanAnswer(torch.autograd.Function):
    """:func:`by_definition` with the gradient above; second derivatives are those of the definition."""

    @staticmethod
    def forward(
        ctx: Any,
        activation: Activation,
        x: Tensor,
        weights: Tensor,
        means: Tensor,
        stds: Tensor | None,
        factors: Tensor,
    ) -> Tensor:
        squares, sizes = None, (x.shape[1], means.shape[1] - x.shape[1])
        means_in, means_out = means.split_with_sizes(sizes, 1)
        rows_in, rows_out = factors.flatten(0, 1).split_with_sizes(sizes, 1)
        mean = means_in @ x.mT  # [K, B]
        along = (rows_in @ x.mT).view(*factors.shape[:2], len(x))  # [K, R, B]
        if stds is None:
            variance = torch.zeros_like(mean)
        else:
            squares = x.square()
            variance = stds.square() @ squares.mT
        with torch._C._AutoDispatchBelowAutograd():  # its own gradient, in Python, would only cost
            value, reach = _FORWARD(mean, variance, along, weights, code(activation.name))
        ctx.activation = activation
        ctx.save_for_backward(x, weights, means, stds, factors, squares, mean, variance, along, value, reach)
        return torch.addmm(value.mT @ means_out, reach.flatten(0, 1).mT, rows_out)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = upstream  # [B, o]
        x, weights, means, stds, factors, squares, mean, variance, along, value, reach = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_differentiably(ctx, g, (x, weights, means, stds, factors))
        sizes = (x.shape[1], means.shape[1] - x.shape[1])
        rows = factors.flatten(0, 1)  # [K R, i + o]
        means_in, means_out = means.split_with_sizes(sizes, 1)
        rows_in, rows_out = rows.split_with_sizes(sizes, 1)
        with torch._C._AutoDispatchBelowAutograd():
            by_mean, by_variance, by_along, g_weights = _BACKWARD(
                means_out @ g.mT,  # A
                (rows_out @ g.mT).view_as(along),  # C
                *(mean, variance, along, weights, code(ctx.activation.name)),
            )
        by_along = by_along.flatten(0, 1)
        g_means, g_rows = torch.empty_like(means), torch.empty_like(rows)
        for full, by_input, by_output in ((g_means, by_mean, value), (g_rows, by_along, reach.flatten(0, 1))):
            first, last = full.split_with_sizes(sizes, 1)
            torch.mm(by_input, x, out=first)
            torch.mm(by_output, g, out=last)
        g_stds = None if stds is None else torch.addmm(stds, by_variance, squares, beta=0, alpha=2).mul_(stds)
        g_x = None
        if ctx.needs_input_grad[1]:
            g_x = by_mean.mT @ means_in + by_along.mT @ rows_in
            if stds is not None:
                g_x.addcmul_(x, by_variance.mT @ stds.square(), value=2)
        return None, g_x, g_weights, g_means, g_stds, g_rows.view_as(factors)


@functools.cache
def _has_kernels(device: str, dtype: torch.dtype) -> bool:
    """Whether :func:`gmcn.ops.layer_moments` is compiled for such numbers; says once where it could be and is not."""
    key = {"cpu": "CPU", "cuda": "CUDA"}.get(device)
    if key is None or dtype not in (torch.float32, torch.float64):
        return False
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key("gmcn::layer_moments", key)
    if not compiled:
        log.warning("gmcn was built without kernels for %s: mixture layers take torch's own gradient, slower", key)
    return compiled


def _differentiably(ctx: Any, g: Tensor, inputs: tuple[Any, ...]) -> list[Tensor | None]:
    """The gradients of all inputs, as a graph."""
    x, weights, means, stds, factors = inputs
    output = by_definition(x, weights, means, stds, factors, ctx.activation)
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, g, create_graph=True, allow_unused=True))
    return [next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs]
