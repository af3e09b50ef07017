"""Where the rows of a set are largest: which points a maximum over all points takes.

Compiled for the CPU, its twin for other devices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.ops import library
from gmcn.ops.reference import largest_rows as twin


def largest_rows(
    x: Tensor,  # [B, M, C]
) -> Tensor:  # [B, C] int64
    """The first row of each set that is largest in each channel; any, where something is not a number.

    Raises ValueError where x is no such tensor of float32 or float64, or has no row.
    """
    if x.ndim != 3 or 0 in x.shape or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be [B, M, C] of float32 or float64 with a row, got {list(x.shape)} {x.dtype}")
    return torch.ops.gmcn.largest_rows(x) if x.device.type == "cpu" else twin(x)


@library.fake("largest_rows")
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[2], dtype=torch.int64)
