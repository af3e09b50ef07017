"""Statistics of sets of rows: what a batch normalisation that a maximum over each set follows needs, in one reading.

The maximum commutes with the normalisation, which is then computed of one row per set instead of all. Compiled for the
CPU, its twin for other devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmcn.ops import autograd, library
from gmcn.ops.reference import set_statistics as twin


def set_statistics(
    x: Tensor,  # [B, M, C]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # [B, C], [B, C], [C], [C]
    """The largest and smallest row of each set by channel, and mean and variance (over B M) of all rows.

    Of equal rows the first is the largest; its gradient goes there. Time and memory of the gradient O(B M C).

    Raises ValueError where x is no such tensor of float32 or float64, or has no row.
    """
    if x.ndim != 3 or 0 in x.shape or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be [B, M, C] of float32 or float64 with a row, got {list(x.shape)} {x.dtype}")
    if x.device.type != "cpu":
        return twin(x)
    high, low, mean, variance, *_ = autograd.call("set_statistics", x)
    return high, low, mean, variance


@library.fake("set_statistics")
def _(x: Tensor) -> tuple[Tensor, ...]:
    sets, _, channels = x.shape
    of_sets = [x.new_empty(sets, channels) for _ in range(2)]
    rows = [x.new_empty(sets, channels, dtype=torch.int64) for _ in range(2)]
    return *of_sets, x.new_empty(channels), x.new_empty(channels), *rows


@library.fake("set_statistics_backward")
def _(*arguments: Tensor) -> Tensor:
    return torch.empty_like(arguments[4], memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    ctx.mark_non_differentiable(*output[4:])
    ctx.save_for_backward(*inputs, output[2], *output[4:])


def _backward(ctx: Any, *gradients: Tensor) -> Tensor:
    return autograd.call("set_statistics_backward", *gradients[:4], *ctx.saved_tensors)


# All sets share mean and variance: mapped samples may not meet in one batch.
autograd.register("set_statistics", _keep, _backward, kernels=(0,))
