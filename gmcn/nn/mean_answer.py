"""Equation (1) of :mod:`gmcn.nn.gaussian_mixture_layer` and its gradient, written down once each.

Autograd would go over means and factors several times, once for each slice of them. By hand, each gradient is written
once, into its place. For G = dF/df [B, o], and with s for p times the activation, it is

    A = m_v Gᵀ,    C = u_v Gᵀ,    S = Σ_r C (uᵀx)
    dF/d(m_w·x) = A E s' + S E s'',    D = 2 dF/d(variance) = A E s'' + S E s''',    dF/d(uᵀx) = C E s' + (uᵀx) D

because a variance acts like half a second derivative: dE s/d(variance) = E s''/2 (the heat equation). Components come
first, [K, B] and [K, R, B], so that what is the same for all R of them is a row and not a number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.nn.activations import Activation


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
        or torch.is_autocast_enabled(x.device.type)
        or torch._C._are_functorch_transforms_active()
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
        inner, rows, squares = x.shape[1], factors.flatten(0, 1), x.square()
        mean = means[:, :inner] @ x.mT  # [K, B]
        along = (rows[:, :inner] @ x.mT).unflatten(0, factors.shape[:2])  # [K, R, B]
        variance = along.square().sum(1)
        if stds is not None:
            variance.addmm_(stds.square(), squares.mT)
        answers = activation.smoothed(mean, variance)
        first, slope, curve, third = (answer * weights[:, None] for answer in answers)
        reach = (along * slope[:, None]).flatten(0, 1)  # [K R, B]
        ctx.activation = activation
        ctx.save_for_backward(
            *(x, weights, means, stds, factors), squares, along, first, slope, curve, third, reach, *answers[:2]
        )
        return torch.addmm(first.mT @ means[:, inner:], reach.mT, rows[:, inner:])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = upstream  # [B, o]
        x, weights, means, stds, factors, *saved = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *_differentiably(ctx, g, (x, weights, means, stds, factors))
        squares, along, first, slope, curve, third, reach, *unweighted = saved
        inner, rows = x.shape[1], factors.flatten(0, 1)  # [K R, i + o]
        g_means, g_rows = torch.empty_like(means), torch.empty_like(rows)
        torch.mm(first, g, out=g_means[:, inner:])
        torch.mm(reach, g, out=g_rows[:, inner:])
        a = means[:, inner:] @ g.mT
        c = (rows[:, inner:] @ g.mT).view_as(along)
        s = (c * along).sum(1)
        g_weights = None
        if ctx.needs_input_grad[2]:
            g_weights = (a * unweighted[0] + s * unweighted[1]).sum(1)
        by_mean = (a * slope).addcmul_(s, curve)
        twice = a.mul_(curve).addcmul_(s, third)  # D
        by_along = c.mul_(slope[:, None]).addcmul_(along, twice[:, None]).flatten(0, 1)
        torch.mm(by_mean, x, out=g_means[:, :inner])
        torch.mm(by_along, x, out=g_rows[:, :inner])
        g_stds = None if stds is None else (twice @ squares).mul_(stds)
        g_x = None
        if ctx.needs_input_grad[1]:
            g_x = by_mean.mT @ means[:, :inner] + by_along.mT @ rows[:, :inner]
            if stds is not None:
                g_x.addcmul_(x, twice.mT @ stds.square())
        return None, g_x, g_weights, g_means, g_stds, g_rows.view_as(factors)


def _differentiably(ctx: Any, g: Tensor, inputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """The gradients of all inputs, as a graph."""
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    output = by_definition(*inputs, ctx.activation)
    found = iter(torch.autograd.grad(output, wanted, g, create_graph=True, allow_unused=True))
    return [next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs]
