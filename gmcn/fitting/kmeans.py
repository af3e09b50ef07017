"""Weighted k-means of many small point sets at once: starts (k-means++, farthest points) and Lloyd's iterations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """[S, M, D], [S, N, D] -> [S, M]: index of the nearest centre."""
    # |x|^2 is the same for all centres, so one matrix product with (x, 1) ranks them.
    extended = torch.cat([centres * -2, centres.square().sum(-1, keepdim=True)], dim=-1)
    ones = torch.ones_like(points[..., :1])
    # min with its indices is twice as fast as argmin on the CPU.
    return (torch.cat([points, ones], dim=-1) @ extended.mT).min(-1).indices


def kmeans_plus_plus(points: Tensor, mass: Tensor, uniform: Tensor) -> Tensor:
    """Start of Arthur & Vassilvitskii (2007): each next centre is a point drawn by mass times squared distance.

    points [S, M, D], mass [S, M], uniform [S, N] random numbers in [0, 1) -> indices [S, N].
    """
    return _pick(points, mass, uniform.shape[-1], lambda density, k: _draw(density, uniform[:, k]))


def farthest_points(points: Tensor, mass: Tensor, n: int) -> Tensor:
    """Farthest-point sampling from the first point that has mass: [S, M, D], [S, M] -> indices [S, N]."""
    present = (mass > 0).to(points)
    return _pick(points, present, n, lambda density, k: density.argmax(-1))


def lloyd(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    centres: Tensor,  # [S, N, D]
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations until no point changes its cluster: centres [S, N, D] and assignment [S, M].

    A cluster that lost all its points moves to the point farthest from its centre (the j-th empty one to the j-th
    farthest), as long as there is a point that is not a centre. Shapes leave the batch as they converge. The
    assignment returned always belongs to the centres returned.
    """
    centres = centres.clone()
    assignment = nearest(points, centres)
    active = torch.arange(points.shape[0], device=points.device)
    x, m, a = points, mass, assignment
    for _ in range(iterations):
        c = _means(x, m, a, centres[active])
        new = nearest(x, c)
        changed = (new != a).any(-1)
        centres[active], assignment[active] = c, new
        if not changed.any():
            break
        active = active[changed]
        x, m, a = (x, m, new) if changed.all() else (x[changed], m[changed], new[changed])
    return centres, assignment


def sum_clusters(values: Tensor, assignment: Tensor, n: int) -> Tensor:
    """[S, M, F], [S, M] -> [S, N, F]: sums of the values over each cluster, in the points' order."""
    result = values.new_zeros(values.shape[0], n, values.shape[-1])
    return result.scatter_add_(1, assignment[..., None].expand_as(values), values)


def _means(points: Tensor, mass: Tensor, assignment: Tensor, previous: Tensor) -> Tensor:
    n = previous.shape[1]
    weighted = torch.cat([mass[..., None], mass[..., None] * points], dim=-1)
    sums = sum_clusters(weighted, assignment, n)
    empty = sums[..., 0] <= 0
    centres = sums[..., 1:] / sums[..., :1].clamp_min(torch.finfo(sums.dtype).tiny)
    if not empty.any():
        return centres
    # Distances to the old centres: where a point lies on its centre there is nothing to gain.
    own = previous.gather(1, assignment[..., None].expand_as(points))
    distance = torch.where(mass > 0, (points - own).square().sum(-1), 0.0)
    count = min(int(empty.sum(-1).max()), points.shape[1])
    far, index = distance.topk(count, dim=-1)
    rank = (empty.cumsum(-1) - 1).clamp(0, count - 1)
    candidate = points.gather(1, index.gather(1, rank)[..., None].expand_as(previous))
    useful = (far.gather(1, rank) > 0) & (empty.cumsum(-1) <= count)
    return torch.where(empty[..., None], torch.where(useful[..., None], candidate, previous), centres)


def _pick(points: Tensor, mass: Tensor, n: int, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Pick n points one after the other by their mass, then times the squared distance to the picked."""
    chosen = points.new_empty(points.shape[0], n, dtype=torch.long)
    distance = torch.full_like(mass, torch.inf)
    density = mass
    for k in range(n):
        chosen[:, k] = choose(density, k)
        picked = points.gather(1, chosen[:, k, None, None].expand(-1, 1, points.shape[-1]))
        distance = torch.minimum(distance, (points - picked).square().sum(-1))
        density = distance * mass
        # All points are picked already (fewer distinct ones than n): start again, as duplicates with no mass.
        exhausted = density.amax(-1, keepdim=True) <= 0
        density = torch.where(exhausted, mass, density)
    return chosen


def _draw(density: Tensor, uniform: Tensor) -> Tensor:
    """Index drawn with probability proportional to the density: [S, M], [S] -> [S]."""
    # float64: in float32 the sum of many small densities would leave points that can never be drawn.
    cumulative = density.to(torch.float64).cumsum(-1)
    target = uniform.to(torch.float64)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_max(density.shape[-1] - 1)
    # Rounding can put the target onto the end: step back to the last point that has density.
    last = density.shape[-1] - 1 - (density.flip(-1) > 0).to(torch.uint8).argmax(-1)
    return torch.minimum(index, last)
