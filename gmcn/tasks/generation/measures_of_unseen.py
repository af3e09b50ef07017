"""Which points of a cloud are seen and which are judged by, where nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor

SEED = 0


def parted(points: Tensor, seen: int) -> tuple[Tensor, Tensor]:  # [B, M, 3] -> [B, V, 3], [B, M - V, 3]
    """The points that are seen and the others, by one fixed permutation of the rows.

    Files may have their points in any order, and the first of a scan are one part of the object.
    """
    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(SEED)).to(points.device)
    return points[:, order[:seen]], points[:, order[seen:]]
