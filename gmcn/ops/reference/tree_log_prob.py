"""The likelihood of points on each level of trees of Gaussians, along the path of each point's likeliest component."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def tree_log_prob(
    points: Tensor,  # [B, M, D]
    heights: Tensor,  # [B, N]
    means: Tensor,  # [B, N, D]
    whiteners: Tensor,  # [B, N, D, D]
    sizes: Sequence[int],
) -> Tensor:  # [B, M, L]
    """For each level, the logsumexp of the scores of all children of the component that was best on the level before.

    The score of a component is ``heights - |whiteners (x - means)|^2 / 2``.
    """
    alive = heights > -math.inf
    means = means.where(alive[..., None], 0)
    whiteners = whiteners.where(alive[..., None, None], 0)
    batch, count, dim = points.shape
    ancestor = torch.zeros(batch, count, dtype=torch.int64, device=points.device)
    values, first, above = [], 0, 1
    for size in sizes:
        children = size // above
        index = ancestor[..., None] * children + torch.arange(children, device=points.device)  # [B, M, c]
        flat = first + index.flatten(1)
        mean = means.gather(1, flat[..., None].expand(-1, -1, dim)).unflatten(1, (count, children))
        whitener = whiteners.gather(1, flat[..., None, None].expand(-1, -1, dim, dim)).unflatten(1, (count, children))
        delta = points[:, :, None] - mean
        squares = (whitener * delta[..., None, :]).sum(-1).square().sum(-1)
        scores = heights.gather(1, flat).unflatten(1, (count, children)) - squares / 2
        gone = (scores == -math.inf).all(-1)  # torch's gradient would not be a number
        values.append(scores.masked_fill(gone[..., None], 0).logsumexp(-1).masked_fill(gone, -math.inf))
        ancestor = index.gather(-1, scores.argmax(-1, keepdim=True))[..., 0]
        first, above = first + size, size
    return torch.stack(values, -1)
