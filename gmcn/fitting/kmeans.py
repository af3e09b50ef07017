"""Weighted k-means of many point sets at once: starts (k-means++, farthest points) and Lloyd's iterations.

float64. Compiled on the CPU, one task per shape; on other devices the twins of :mod:`gmcn.fitting.reference` run.
A point of mass 0 does not exist.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.fitting import reference
from gmcn.ops import library  # noqa: F401  (loads the compiled operations)


def kmeans_plus_plus(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    uniform: Tensor,  # [S, N]
) -> Tensor:  # [S, N]
    """Start of Arthur & Vassilvitskii (2007): each next centre is a point drawn by mass times squared distance.

    ``uniform`` are random numbers in [0, 1); the result holds indices of points.
    """
    if points.device.type != "cpu":
        return reference.kmeans_plus_plus(points, mass, uniform)
    return torch.ops.gmcn.kmeans_start(points, mass, uniform, False)


def farthest_points(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    n: int,
) -> Tensor:  # [S, N]
    """Farthest-point sampling from the first point that has mass: indices of points."""
    if points.device.type != "cpu":
        return reference.farthest_points(points, mass, n)
    return torch.ops.gmcn.kmeans_start(points, mass, points.new_empty(len(points), n), True)


def lloyd(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    centres: Tensor,  # [S, N, D]
    iterations: int,
) -> tuple[Tensor, Tensor]:  # [S, N, D], [S, M]
    """Lloyd's iterations until no point changes its cluster: centres and assignment, which belong together.

    A cluster that lost all its points moves to the point farthest from its centre (the j-th empty one to the j-th
    farthest), as long as there is a point that is not a centre.
    """
    if points.device.type != "cpu":
        return reference.lloyd(points, mass, centres, iterations)
    return torch.ops.gmcn.lloyd(points, mass, centres, iterations)
