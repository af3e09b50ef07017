"""What a GMM layer is trained for, ``max_i (G s)_i`` at each position, with a gradient that is written by hand.

For the log-scores of shared diagonal Gaussians,

    s_k = log π_k + Σ_c (log d_kc - d_kc² (x_c - μ_kc)² / 2) - C/2 log 2π,

and the sums S⁰, S¹, S² of the slopes, of those times x and of those times x² over the positions that each component
wins, each then multiplied by Gᵀ, the gradients are

    ∂ logits = S⁰ - π Σ S⁰,    ∂μ = d² (S¹ - μ S⁰),    ∂d = S⁰ / d - d (S² - 2 μ S¹ + μ² S⁰).

Autograd would go over all scores of all positions several times, and multiply each with all that lies there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gmcn.nn.folding import Folding
from gmcn.ops.winners import best_and_shares, best_scores, sums_by_winner


class ObjectiveOfImages(torch.autograd.Function):
    """Objective, winners and, where they are wanted, responsibilities of each position; no gradient for x."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,  # [B, C', H, W], before the folding
        logits: Tensor,  # [K]
        means: Tensor,  # [K, C]
        roots: Tensor,  # [K, C]
        grid: Tensor | None,  # G [K, K], whose rows have the sum 1
        folding: Folding | None,
        shared: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # [B, H', W'], [B, H', W'] int64, [B, K, H', W']
        squares, linear, constant = opened(logits, means, roots)
        alike = equal(squares)
        # What all components of a position have in common changes neither who wins nor the responsibilities.
        scores = product(x, linear, folding, constant) if alike else both(x, linear, squares, folding, constant)
        rows = scores.movedim(1, -1).contiguous()
        flat, least = rows.view(-1, rows.shape[-1]), least_share(rows.dtype)
        objective, winners = best_and_shares(flat, grid, least) if shared else best_scores(flat, grid)
        objective, winners = objective.view(rows.shape[:-1]), winners.view(rows.shape[:-1])
        if alike:
            objective += of_squares(x, squares, folding)[:, 0]
        shares = rows.movedim(-1, 1) if shared else None
        context.save_for_backward(x, logits, means, roots, grid, winners)
        context.window = ((1, 1), (1, 1)) if folding is None else (folding.kernel, folding.stride)
        context.mark_non_differentiable(winners, *([] if shares is None else [shares]))
        context.set_materialize_grads(False)
        return objective, winners, shares

    @staticmethod
    def backward(context: Any, slopes: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # by create_graph
            raise NotImplementedError(
                "the objective of a GMM layer has no second derivative; take that of its log_scores where one is needed"
            )
        x, logits, means, roots, grid, winners = context.saved_tensors
        _, of_logits, of_means, of_roots, *_ = context.needs_input_grad
        if slopes is None:
            return (None,) * 7
        ones, first, second = sums_by_winner(x, winners, slopes, len(logits), *context.window, squares=of_roots)
        if grid is not None:
            ones, first = grid.mT @ ones, grid.mT @ first
            second = grid.mT @ second if of_roots else second
        column = ones[:, None]
        return (
            None,
            torch.sub(ones, logits.softmax(0) * ones.sum()) if of_logits else None,
            roots.square() * torch.addcmul(first, means, column, value=-1) if of_means else None,
            column / roots - roots * (second + means * (means * column - 2 * first)) if of_roots else None,
            None,
            None,
            None,
        )


class ObjectiveOfScores(torch.autograd.Function):
    """Objective and winners of rows of scores, which get a gradient."""

    @staticmethod
    def forward(
        context: Any,
        scores: Tensor,  # [M, K]
        grid: Tensor | None,  # [K, K]
    ) -> tuple[Tensor, Tensor]:  # [M], [M] int64
        objective, winners = best_scores(scores, grid)
        context.components = scores.shape[1]
        context.save_for_backward(winners, grid)
        context.mark_non_differentiable(winners)
        return objective, winners

    @staticmethod
    def backward(context: Any, slopes: Tensor, _: None) -> tuple[Tensor, None]:
        winners, grid = context.saved_tensors
        if grid is not None:
            return grid[winners] * slopes[:, None], None
        zeros = slopes.new_zeros(len(slopes), context.components)
        return zeros.scatter_(1, winners[:, None], slopes[:, None]), None


def opened(
    logits: Tensor,  # [..., K]
    means: Tensor,  # [..., K, C]
    roots: Tensor,  # [..., K, C]
) -> tuple[Tensor, Tensor, Tensor]:  # [..., K, C], [..., K, C], [..., K]
    """-d² / 2, d² μ and constants: the products of the first two with x² and x add up to the scores."""
    precisions = roots.square()
    linear = precisions * means
    constant = logits.log_softmax(-1) - 0.5 * means.shape[-1] * math.log(2 * math.pi)
    constant = constant + roots.abs().log().sum(-1) - 0.5 * (linear * means).sum(-1)
    return -0.5 * precisions, linear, constant


def product(
    x: Tensor,  # [B, C', H, W]
    weights: Tensor,  # [K, C], or [P, K, C]
    folding: Folding | None,
    constant: Tensor | None = None,  # [K], or [P, K]
) -> Tensor:  # [B, K, H', W']
    """The product of what lies at each position with the weights, and a constant besides."""
    if weights.dim() == 3:  # of each position its own
        found = weights @ x.flatten(2).permute(2, 1, 0)  # [P, K, B]
        found = found if constant is None else found + constant[..., None]
        return found.permute(2, 1, 0).unflatten(2, x.shape[2:])
    if folding is not None:
        kernels = weights.unflatten(1, (x.shape[1], *folding.kernel))
        return functional.conv2d(_last(x), _last(kernels), constant, stride=folding.stride)
    if x.shape[2:] == (1, 1):
        return functional.linear(x[:, :, 0, 0], weights, constant)[..., None, None]
    return functional.conv2d(_last(x), _last(weights[..., None, None]), constant)


def both(
    x: Tensor,  # [B, C', H, W]
    linear: Tensor,  # [K, C], or [P, K, C]
    squares: Tensor,  # the same
    folding: Folding | None,
    constant: Tensor,  # [K], or [P, K]
) -> Tensor:  # [B, K, H', W']
    """The products of x and x² with the weights of each, and a constant besides."""
    if folding is None and linear.dim() == 2 and x.shape[2:] == (1, 1):  # without a copy of x
        flat = x[:, :, 0, 0]
        return torch.addmm(product(x, linear, None, constant)[:, :, 0, 0], flat * flat, squares.mT)[..., None, None]
    return product(torch.cat((x, x * x), 1), torch.cat((linear, squares), -1), folding, constant)


def equal(squares: Tensor) -> bool:  # [..., K, C]
    """Whether all precisions are one number, as before these have learnt; not asked on a GPU."""
    return not squares.is_cuda and bool((squares == squares[..., :1, :1]).all())


def of_squares(
    x: Tensor,  # [B, C', H, W]
    squares: Tensor,  # [K, C], or [P, K, C], of equal precisions
    folding: Folding | None,
) -> Tensor:  # [B, 1, H', W']
    """The product of x² with the weights of any component, from the sum over the channels."""
    return product((x * x).sum(1, keepdim=True), squares[..., :1, : squares.shape[-1] // x.shape[1]], folding)


def least_share(dtype: torch.dtype) -> float:
    """The responsibility from which on a sum would notice it."""
    return torch.finfo(dtype).eps ** 1.5


def _last(x: Tensor) -> Tensor:  # [B, C, H, W]
    """The same with the channels of a position side by side in memory, where torch is faster."""
    if x.shape[1] == 1:  # then torch tells the two layouts apart by the stride of the only channel
        return x.reshape(len(x), *x.shape[2:], 1).movedim(-1, 1)
    return x.contiguous(memory_format=torch.channels_last)
