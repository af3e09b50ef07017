"""What training a mixture's objective ``max_i (G s)_i`` takes: winners, and sums over the positions of each.

The objective's gradient with respect to the scores s of a position is G_i of its winner i, so that the gradient of what
makes the scores of what lies there, x, is Gᵀ S with S_i = Σ x over the positions that i wins: an addition for each
number of each position, and no product. They are compiled for the CPU, and their twins for other devices; they have no
gradients, since they make one (gmcn/nn/gmm_objective.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.ops import library
from gmcn.ops.checks import check_count, check_same
from gmcn.ops.reference import winners as twins

Pair = tuple[int, int]


def best_scores(
    scores: Tensor,  # [M, K]
    grid: Tensor | None = None,  # [K, K]
) -> tuple[Tensor, Tensor]:  # [M], [M] int64
    """The largest of ``G s`` in each row, or of s without a ``grid`` G, and the first component that has it.

    What is not a number stays so, and then the winner is any. Time O(M K^2), memory O(M).

    Raises ValueError where shapes, dtypes or devices do not fit.
    """
    _check(scores, grid)
    if scores.device.type != "cpu":
        return twins.best_scores(scores, grid)
    return torch.ops.gmcn.best_scores(scores, grid)


def best_and_shares(
    scores: Tensor,  # [M, K], contiguous; overwritten
    grid: Tensor | None,  # [K, K]
    least: float,
) -> tuple[Tensor, Tensor]:  # [M], [M] int64
    """:func:`best_scores`, while scores become responsibilities ``softmax s``; those below ``least`` become 0.

    Raises ValueError where shapes, dtypes or devices do not fit.
    """
    _check(scores, grid)
    if scores.device.type != "cpu":
        return twins.best_and_shares(scores, grid, least)
    return torch.ops.gmcn.best_and_shares(scores, grid, least)


def _check(scores: Tensor, grid: Tensor | None) -> None:
    if scores.ndim != 2 or not scores.shape[1] or scores.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"scores must be [M, K] of float32 or float64 with K above 0, got {list(scores.shape)} {scores.dtype}"
        )
    if grid is not None:
        check_same(grid, scores, ("grid", "scores"))
        if grid.shape != (scores.shape[1],) * 2:
            raise ValueError(f"grid {list(grid.shape)} does not fit scores {list(scores.shape)}: expected [K, K]")


def sums_by_winner(
    x: Tensor,  # [B, C, H, W]
    winners: Tensor,  # [B, H', W'] int64
    slopes: Tensor,  # [B, H', W']
    components: int,
    kernel: Pair = (1, 1),
    stride: Pair = (1, 1),
    *,
    squares: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # [K], [K, C fy fx], [K or 0, C fy fx]
    """Sums over the positions that each component wins, in the channels' order of torch's unfold.

    Of slopes; of slopes times what a window sees; with ``squares``, of slopes times its squares. x may have any
    strides, and windows are never copied. Sums do not depend on the number of threads. Time O(B H' W' C fy fx).

    Raises ValueError where shapes, dtypes or devices do not fit, and RuntimeError for a winner that is no component.
    """
    check_count(components, "components")
    if x.ndim != 4 or winners.ndim != 3 or slopes.shape != winners.shape or winners.dtype != torch.int64:
        raise ValueError(
            f"expected x [B, C, H, W], winners [B, H', W'] of int64 and slopes alike, got {list(x.shape)}, "
            f"{list(winners.shape)} {winners.dtype} and {list(slopes.shape)}"
        )
    check_same(slopes, x, ("slopes", "x"))
    fits = all((n - 1) * d + k <= s for n, d, k, s in zip(winners.shape[1:], stride, kernel, x.shape[2:], strict=True))
    if not fits or len(winners) != len(x):
        raise ValueError(
            f"winners {list(winners.shape)} of windows {list(kernel)} in steps of {list(stride)} do not fit x "
            f"{list(x.shape)}"
        )
    if x.device.type != "cpu":
        return twins.sums_by_winner(x, winners, slopes, components, kernel, stride, squares=squares)
    return torch.ops.gmcn.sums_by_winner(x, winners, slopes, components, *kernel, *stride, squares)


@library.fake("best_scores")
@library.fake("best_and_shares")
def _(scores: Tensor, grid: Tensor | None, *_: float) -> tuple[Tensor, Tensor]:
    return scores.new_empty(scores.shape[0]), scores.new_empty(scores.shape[0], dtype=torch.int64)


@library.fake("sums_by_winner")
def _(x: Tensor, winners: Tensor, slopes: Tensor, components: int, *sizes: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns, _, _, squares = sizes
    channels = x.shape[1] * rows * columns
    of_squares = x.new_empty(components if squares else 0, channels)
    return x.new_empty(components), x.new_empty(components, channels), of_squares
