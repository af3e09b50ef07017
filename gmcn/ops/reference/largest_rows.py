"""Where the rows of a set are largest."""

from __future__ import annotations

from torch import Tensor


def largest_rows(
    x: Tensor,  # [B, M, C]
) -> Tensor:  # [B, C] int64
    """The first row of each set that is largest in each channel."""
    return x.argmax(1)
