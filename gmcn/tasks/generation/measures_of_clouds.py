"""Distances between point clouds, and the nearest clouds of a set without the distances of all pairs. Needs SciPy.

*Chamfer distance*: for each point the squared distance to the nearest point of the other cloud, the means over either
cloud added (as in PointFlow, Yang et al. 2019); with ``squared=False`` the same of distances that are not squared.
*Earth mover's distance* (EMD): the mean distance, not squared, between the points that the best one-to-one matching of
two clouds of equal size pairs. It is exact, up to rounding. All is computed in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gmcn.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import KDTree

CELLS = 40  # of the grids that give the first bounds, along each axis
DIRECTIONS = 32  # of the first bounds of earth mover's distances
BLUR, STEPS = 1 / 50, 10  # of Sinkhorn's dual for a bound, in units of the largest cost
FINE_BLUR, FINE_STEPS = 1 / 100, 50  # for a matching: the better the dual, the less is left to search


class Clouds:
    """A set of clouds [S, M, 3], in float64, with a search tree for each."""

    def __init__(self, points: Tensor) -> None:
        if points.dim() != 3 or points.shape[2] != 3 or 0 in points.shape:
            raise InputError(f"clouds to compare are {list(points.shape)}, but must be [clouds, points, 3]")
        bad = ~points.isfinite().flatten(1).all(1)
        if bad.any():
            raise InputError(
                f"{int(bad.sum())} of {len(points)} clouds to compare have points that are not finite (the first is "
                f"cloud {int(bad.nonzero()[0])}, from 0)"
            )
        self.points = points.detach().cpu().double().numpy()

    def __len__(self) -> int:
        return len(self.points)

    @functools.cached_property
    def trees(self) -> list[KDTree]:
        from scipy.spatial import KDTree

        return [KDTree(cloud) for cloud in self.points]

    @property
    def extent(self) -> float:
        """The largest coordinate, in magnitude."""
        return float(np.abs(self.points).max())


def chamfer(
    first: Tensor,  # [S, M, 3]
    second: Tensor,  # [S, P, 3]
    *,
    squared: bool = True,
) -> Tensor:  # [S] float64
    """The Chamfer distances of S pairs."""
    one, two = Clouds(first), Clouds(second)
    power = 2 if squared else 1
    return torch.tensor([_chamfer(one, i, two, i, power) for i in range(len(one))], dtype=torch.float64)


def earth_movers(
    first: Tensor,  # [S, M, 3]
    second: Tensor,  # [S, M, 3]
) -> Tensor:  # [S] float64
    """The earth mover's distances of S pairs of clouds of equal size."""
    if first.shape != second.shape:
        raise InputError(
            f"the earth mover's distance is that of clouds of equal size, not of {list(first.shape)} and "
            f"{list(second.shape)}"
        )
    one, two = Clouds(first), Clouds(second)
    return torch.tensor([_matched(one, i, two, i) for i in range(len(one))], dtype=torch.float64)


def to_nearest(points: np.ndarray, tree: KDTree) -> np.ndarray:  # [M, 3] -> [M]
    """The distance of each point to the nearest one in the tree."""
    return tree.query(points)[0]


def _there(first: Clouds, i: int, second: Clouds, j: int) -> float:
    return float((to_nearest(first.points[i], second.trees[j]) ** 2).mean())


def _chamfer(first: Clouds, i: int, second: Clouds, j: int, power: int = 2) -> float:
    there = to_nearest(first.points[i], second.trees[j])
    back = to_nearest(second.points[j], first.trees[i])
    return float((there**power).mean() + (back**power).mean())


def _matched(first: Clouds, i: int, second: Clouds, j: int) -> float:
    from scipy.optimize import linear_sum_assignment

    costs = _costs(first.points[i], second.points[j])
    # Less by numbers of each row and column: the best matching is the same, and near the zeros soon found.
    left, right = potentials(costs, FINE_BLUR, FINE_STEPS)
    rows, columns = linear_sum_assignment((costs - left[:, None] - right).numpy())
    return float(costs[rows, columns].mean())


def _dual_bound(first: Clouds, i: int, second: Clouds, j: int) -> float:
    left, right = potentials(_costs(first.points[i], second.points[j]).float(), BLUR, STEPS)
    return float(left.mean() + right.mean())


def _costs(first: np.ndarray, second: np.ndarray) -> Tensor:  # [M, 3], [P, 3] -> [M, P]
    from scipy.spatial.distance import cdist

    return torch.from_numpy(cdist(first, second))


def potentials(
    costs: Tensor,  # [M, M]
    blur: float,
    steps: int,
) -> tuple[Tensor, Tensor]:  # [M], [M]
    """Numbers of rows and columns whose sum is never above the cost: their means add up to less than any matching's.

    Sinkhorn's steps (Cuturi 2013) at ``blur`` times the largest cost; then, whatever they found, the largest number of
    each column that those of the rows allow, and the other way round.
    """
    scale = float(costs.max()) * blur or 1.0
    kernel = (costs.float() / -scale).exp_()
    columns = kernel.new_ones(len(kernel))
    for _ in range(steps):
        rows = (kernel @ columns).reciprocal()
        columns = (rows @ kernel).reciprocal()
    left = (scale * rows.to(costs).log()).nan_to_num(0.0, 0.0, 0.0)
    right = (costs - left[:, None]).amin(0)
    return (costs - right).amin(1), right


@dataclass(frozen=True)
class Distance:
    """A distance of clouds: lower bounds [A, C] of two sets; then of a pair better bounds, and the distance at last."""

    bounds: Callable[[Clouds, Clouds], np.ndarray]
    stages: tuple[Callable[[Clouds, int, Clouds, int], float], ...]


def _far(first: Clouds, second: Clouds) -> np.ndarray:  # [A, C]
    """Lower bounds of the mean, over a first cloud's points, of the squared distance to the second cloud.

    On a grid: between points of two cells there are at least as many cells as between one cell and the nearest
    neighbour of the other.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter

    half = max(first.extent, second.extent) or 1.0

    def cells(points: np.ndarray) -> np.ndarray:  # [..., 3] -> [...]
        places = ((points / half + 1) * (CELLS / 2)).astype(np.int32).clip(0, CELLS - 1)
        return (places[..., 0] * CELLS + places[..., 1]) * CELLS + places[..., 2]

    where, far = cells(first.points), np.empty((len(first), len(second)))
    for j, cloud in enumerate(second.points):
        filled = np.zeros((CELLS,) * 3, dtype=bool)
        filled.ravel()[cells(cloud)] = True
        apart = distance_transform_edt(~maximum_filter(filled, 3)) * (2 * half / CELLS)
        far[:, j] = (apart**2).astype(np.float32).ravel()[where].mean(1, dtype=np.float64)
    return far * (1 - 1e-6)  # float32 may have rounded upwards


def _cell_bounds(first: Clouds, second: Clouds) -> np.ndarray:  # [A, C]
    """Lower bounds of Chamfer distances."""
    return _far(first, second) + _far(second, first).T


def _projected_bounds(first: Clouds, second: Clouds) -> np.ndarray:  # [A, C]
    """Lower bounds of earth mover's distances: no projection onto a line is further apart, and there one need but sort.

    The largest of those of 32 directions, which are spread over half the sphere by the golden angle.
    """
    places = np.arange(DIRECTIONS) + 0.5
    z, angle = 1 - places / DIRECTIONS, places * math.pi * (3 - math.sqrt(5))
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z])
    one, two = (np.sort((clouds.points @ directions).transpose(0, 2, 1)) for clouds in (first, second))
    return np.stack([np.abs(two - cloud).mean(-1).max(-1) for cloud in one])


CHAMFER = Distance(_cell_bounds, (_chamfer,))
# The mean squared distance of the first cloud's points to the second: what that has besides costs nothing.
ONE_SIDED = Distance(_far, (_there,))
EARTH_MOVERS = Distance(_projected_bounds, (_dual_bound, _matched))


class Pairs:
    """The distances of all pairs of two sets, or of one with itself, computed only where a search needs them.

    For all pairs there is a lower bound. A search looks at the least one, and asks for a better bound of that pair or
    for its distance, until the least one is a distance: the nearest cloud. What was found helps later searches.
    """

    def __init__(self, first: Clouds, second: Clouds, distance: Distance) -> None:
        self.first, self.second, self.distance = first, second, distance
        self.bounds = distance.bounds(first, second)  # [A, C]
        self.found = np.zeros(self.bounds.shape, dtype=np.uint8)  # stages that are done
        if first is second:
            np.fill_diagonal(self.bounds, np.inf)

    def nearest(
        self,
        axis: int = 1,
        limits: np.ndarray | None = None,
        progress: Callable[[int], object] = lambda count: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances and places in the second set of the nearest cloud to each of the first; ``axis=0``: the reverse.

        In one set it is the nearest other cloud. Where none is nearer than the cloud's own of the ``limits``, there is
        this limit and the place -1.
        """
        bounds, found = (self.bounds, self.found) if axis else (self.bounds.T, self.found.T)
        limits = np.full(len(bounds), np.inf) if limits is None else limits
        distances, places = limits.copy(), np.full(len(bounds), -1)
        for i, row in enumerate(bounds):
            while (least := row[j := int(row.argmin())]) < limits[i]:
                if found[i, j] == len(self.distance.stages):
                    distances[i], places[i] = least, j
                    break
                self._improve(*((i, j) if axis else (j, i)))
            progress(1)
        return distances, places

    def _improve(self, i: int, j: int) -> None:
        stages = self.distance.stages
        value = stages[self.found[i, j]](self.first, i, self.second, j)
        self.found[i, j] += 1
        # A bound that is worse is none; the distance may be below a bound by rounding.
        self.bounds[i, j] = value if self.found[i, j] == len(stages) else max(value, self.bounds[i, j])
        if self.first is self.second:  # and the distance the same both ways
            self.bounds[j, i], self.found[j, i] = self.bounds[i, j], self.found[i, j]
