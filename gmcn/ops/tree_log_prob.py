"""The likelihood of points on each level of trees of Gaussians, along the path of each point's likeliest component."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmcn.ops import autograd, library
from gmcn.ops.checks import check_count, check_same


def tree_log_prob(
    points: Tensor,  # [B, M, D]
    heights: Tensor,  # [B, N]
    means: Tensor,  # [B, N, D]
    whiteners: Tensor,  # [B, N, D, D]
    sizes: Sequence[int],
) -> Tensor:  # [B, M, L]
    """For each level, the log-density of each point among the children of one component, its ancestor there.

    On level 0 the logsumexp of all scores, where component n has the score ``heights_n - |W_n (x - means_n)|^2 / 2``
    for its whitener W (``W C Wᵀ = I``); so heights are logarithms of a weight among siblings times the density at the
    mean. The component with the largest score, the first of equal ones, becomes the point's ancestor, and on the next
    level only its children count; and so on. There is no gradient through that choice. With one level it is the exact
    log-density of a mixture. Time O(B M (N_0 + children of one component on each further level)), no memory but the
    results (on the CPU, for the gradient, at most those of 64 mixtures or of all besides).

    ``sizes`` are N_0, ..., N_(L-1), with N their sum: the components of the levels lie one after the other, each N_l is
    a multiple of N_(l-1), and children of component i of a level are i c, ..., i c + c - 1 of the next, c = N_l /
    N_(l-1). D is 2 or 3.

    A component of height -inf has no part in anything, whatever its mean and whitener say. Where all candidates of a
    point have it, so has its value, without a gradient, and the first of them is the ancestor.

    Raises ValueError where sizes are no levels, or shapes, dtypes or devices do not fit.
    """
    _check(points, heights, means, whiteners)
    levels = [check_count(size, f"sizes[{level}]") for level, size in enumerate(sizes)]
    for level, (above, size) in enumerate(itertools.pairwise(levels), 1):
        if size % above:
            raise ValueError(f"sizes[{level}] must be a multiple of the size before, {above}, got {size}")
    if not levels or sum(levels) != heights.shape[1]:
        raise ValueError(f"sizes {levels} must add up to the {heights.shape[1]} components of heights")
    return autograd.call("tree_log_prob", points, heights, means, whiteners, levels)[0]


def _check(points: Tensor, heights: Tensor, means: Tensor, whiteners: Tensor) -> None:
    if points.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"points must be float32 or float64, got {points.dtype}")
    if points.ndim != 3 or points.shape[-1] not in (2, 3):
        raise ValueError(f"points must be [B, M, 2] or [B, M, 3], got {list(points.shape)}")
    if heights.ndim != 2 or len(heights) != len(points):
        raise ValueError(f"heights {list(heights.shape)} do not fit points {list(points.shape)}: expected [B, N]")
    dim, shape = points.shape[-1], list(heights.shape)
    for name, tensor, expected in (
        ("heights", heights, shape),
        ("means", means, [*shape, dim]),
        ("whiteners", whiteners, [*shape, dim, dim]),
    ):
        if list(tensor.shape) != expected:
            raise ValueError(
                f"{name} {list(tensor.shape)} do not fit heights {shape} and points {list(points.shape)}: "
                f"expected {expected}"
            )
        check_same(tensor, points, (name, "points"))


@library.fake("tree_log_prob")
def _(points: Tensor, *components: Any) -> tuple[Tensor, ...]:
    batch, count, _ = points.shape
    *_, sizes = components
    values, best, totals = (points.new_empty(batch, count, len(sizes)) for _ in range(3))
    return values, best, totals, points.new_empty(batch, count, dtype=torch.int64)


autograd.differentiable("tree_log_prob", tensors=4, kept=3)
