"""Statistics of sets of rows."""

from __future__ import annotations

import torch
from torch import Tensor


def set_statistics(
    x: Tensor,  # [B, M, C]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # [B, C], [B, C], [C], [C]
    """The largest and smallest row of each set by channel, and mean and variance of all rows."""
    variance, mean = torch.var_mean(x.flatten(0, 1), 0, correction=0)
    return x.max(1).values, x.min(1).values, mean, variance
