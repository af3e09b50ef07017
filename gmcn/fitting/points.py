"""Fit Gaussian mixtures to many point sets at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from gmcn.errors import InputError, unknown
from gmcn.fitting import em, kmeans
from gmcn.mixture import Mixture

# What a method presets; any of it can be overridden by name. "fps" is what the authors' code runs under the name
# of k-means: farthest points, every point to its nearest one, and the moments of those cells.
METHODS = {
    "kmeans": {"init": "kmeans++", "iterations": 100, "em_steps": 1},
    "fps": {"init": "farthest", "iterations": 0, "em_steps": 0},
}
INITS = ("kmeans++", "farthest")

T = TypeVar("T")

# Numbers in the largest tensor of a chunk (points x components x shapes): 8 MB in float64.
_CHUNK = 1 << 20


def fit_points(
    points: Tensor,  # [S, M, D]
    n: int,
    method: str = "kmeans",
    *,
    weights: Tensor | None = None,  # [S, M]
    point_covariance: Tensor | None = None,  # [D, D]
    init: str | None = None,
    iterations: int | None = None,
    em_steps: int | None = None,
    covariance_floor: float = 1e-4,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Mixture:  # [S, n]
    """Fit a mixture of ``n`` Gaussians to each of S point sets of M points in D = 2 or 3 dimensions.

    ``kmeans`` runs Lloyd's algorithm from ``init`` (``kmeans++`` or ``farthest``) until it converges, at most
    ``iterations`` times, takes the moments of the clusters and improves them by ``em_steps`` soft EM steps (the
    paper's section 5 does one). ``fps`` takes the moments of the cells of farthest points.

    The weights of the result are priors: they are not negative and sum to one. The mixture's mean is the
    points' mean. Where a shape has fewer distinct points than components, the components left over have weight 0,
    a point's position and the mixture's mean covariance.

    Args:
        weights: mass of each point, not negative; a point of mass 0 does not exist. Default: all equal.
        point_covariance: what a point itself extends over (squares of the points' unit), for example a pixel.
        covariance_floor: added to the covariances' diagonals, times the square of the longest side of the shape's
            bounding box (times 1 where all points are equal).
        seed: of k-means++. The result of a shape depends on the seed and on its place among the shapes only.
        progress: called with the number of shapes done, chunk by chunk.

    Raises:
        InputError: bad sizes or options, values that are not finite, a shape whose points have no mass.
    """
    options = _options(method, init=init, iterations=iterations, em_steps=em_steps)
    mass = _check(points, n, weights, covariance_floor)
    if point_covariance is None:
        point_covariance = points.new_zeros(points.shape[-1], points.shape[-1])
    count = points.shape[0]
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, n, generator=generator, dtype=torch.float64).to(points.device)
    size = max(1, _CHUNK // max(1, points.shape[1] * n))

    def fit_chunk(start: int) -> Mixture:
        rows = slice(start, start + size)
        part = _fit_chunk(points[rows], mass[rows], uniform[rows], point_covariance, covariance_floor, **options)
        return part.to(points.dtype)

    parts = []
    for part in map_chunks(fit_chunk, range(0, count, size), points.device):
        parts.append(part)
        if progress is not None:
            progress(part.weights.shape[0])
    return Mixture(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def map_chunks(function: Callable[[int], T], starts: range, device: torch.device) -> Iterator[T]:
    """The function's results for every chunk, in order: on a CPU as many at once as torch has threads.

    The operations of a chunk are small. Threads inside each of them spend their time waiting for each other (on a
    busy machine ten times that of the work itself); one thread per chunk scales and gives the same numbers.
    """
    threads = torch.get_num_threads()
    workers = threads if device.type == "cpu" else 1
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(torch.no_grad()(function), starts)
        finally:
            # A worker's setting is also what threads started later would begin with.
            torch.set_num_threads(threads)


def unit_frame(points: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Centre [S, 1, D] of the bounding box of points with mass, and its longest side [S, 1, 1] (1 if it is 0)."""
    present = (mass > 0)[..., None]
    low = torch.where(present, points, torch.inf).amin(1, keepdim=True)
    high = torch.where(present, points, -torch.inf).amax(1, keepdim=True)
    side = (high - low).amax(-1, keepdim=True)
    return (low + high) / 2, torch.where(side > 0, side, 1.0)


def _fit_chunk(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    uniform: Tensor,  # [S, N]
    point_covariance: Tensor,  # [D, D]
    floor: float,
    *,
    init: str,
    iterations: int,
    em_steps: int,
) -> Mixture:
    n = uniform.shape[1]
    centre, side = unit_frame(points, mass)
    unit = (points - centre) / side
    if init == "farthest":
        start = kmeans.farthest_points(unit, mass, n)
    else:
        start = kmeans.kmeans_plus_plus(unit, mass, uniform)
    seeds = unit.gather(1, start[..., None].expand(-1, -1, unit.shape[-1]))
    _, assignment = kmeans.lloyd(unit, mass, seeds, iterations)

    phi = em.monomials(unit.to(torch.float64))
    share = mass.to(torch.float64)
    share = share / share.sum(-1, keepdim=True)
    extent = point_covariance.to(torch.float64) / side.to(torch.float64).square()
    statistics = kmeans.sum_clusters(share[..., None] * phi, assignment, n)
    mixture = em.m_step(statistics, seeds.to(torch.float64), extent, floor)
    for _ in range(em_steps):
        mixture = em.em_step(phi, share, mixture, extent, floor)
    side, centre = side.to(torch.float64), centre.to(torch.float64)
    return Mixture(mixture.weights, mixture.positions * side + centre, mixture.covariances * side.square()[..., None])


def _options(method: str, **given) -> dict:
    if method not in METHODS:
        raise unknown("fitting method", method, METHODS)
    options = METHODS[method] | {key: value for key, value in given.items() if value is not None}
    if options["init"] not in INITS:
        raise unknown("start of k-means", options["init"], INITS)
    for key in ("iterations", "em_steps"):
        if options[key] < 0:
            raise InputError(f"{key} is {options[key]}; it must be 0 or more")
    return options


def _check(points: Tensor, n: int, weights: Tensor | None, floor: float) -> Tensor:
    """The points' masses [S, M], or an :class:`InputError`."""
    if points.dim() != 3 or points.shape[-1] not in (2, 3):
        raise InputError(f"points have shape {list(points.shape)}; they must be [shapes, points, 2 or 3]")
    if points.shape[1] == 0:
        raise InputError(f"the clouds are empty: points have shape {list(points.shape)}; a cloud needs a point or more")
    if points.dtype not in (torch.float32, torch.float64):
        raise InputError(f"points are {points.dtype}; they must be float32 or float64")
    if n < 1:
        raise InputError(f"the number of Gaussians is {n}; it must be 1 or more")
    if not floor > 0:
        raise InputError(f"covariance_floor is {floor}; it must be positive, or flat shapes have no density")
    mass = points.new_ones(points.shape[:2]) if weights is None else weights.to(points)
    if mass.shape != points.shape[:2]:
        raise InputError(f"weights have shape {list(mass.shape)}, the points {list(points.shape)}")
    bad = ~points.isfinite().all(-1).all(-1) | ~mass.isfinite().all(-1)
    if bad.any():
        raise InputError(f"shape {int(bad.int().argmax())} has a coordinate or weight that is not finite; remove it")
    if (mass < 0).any():
        raise InputError(f"shape {int((mass < 0).any(-1).int().argmax())} has a negative weight; masses are not")
    lost = mass.sum(-1) <= 0
    if lost.any():
        raise InputError(f"shape {int(lost.int().argmax())} has no point of positive weight; remove it")
    return mass
