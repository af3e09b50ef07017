"""Fit Gaussian mixtures to many point sets at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gmcn.declared import check
from gmcn.errors import InputError, unknown
from gmcn.fitting import kmeans
from gmcn.fitting.em import em, moments
from gmcn.fitting.hierarchical import fit_hierarchy
from gmcn.fitting.settings import FLOOR, METHODS, FitSettings
from gmcn.mixture import Mixture

T = TypeVar("T")

# Numbers in the largest tensor of a chunk (points x components x shapes): 8 MB in float64.
_CHUNK = 1 << 20


def fit_points(
    points: Tensor,  # [S, M, D]
    n: int,
    method: str = "kmeans",
    *,
    weights: Tensor | None = None,  # [S, M]
    nodes: tuple[Tensor, Tensor] | None = None,  # [Q, D], [Q]
    covariance_floor: float = FLOOR,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    names: Sequence[str] | None = None,
    **options,
) -> Mixture:  # [S, n]
    """Fit a mixture of ``n`` Gaussians to each of S point sets of M points in D = 2 or 3 dimensions.

    ``kmeans`` runs Lloyd's algorithm until it converges, takes the moments of the clusters and improves them by one
    soft EM step (the paper's section 5). ``kmeans_em`` goes on with EM until it converges; ``random_em`` begins it
    with equal Gaussians, of the points' covariance, at positions drawn from the points' normal distribution.
    ``eckart`` is the hierarchical EM of Eckart et al. (2016), ``n`` a power of its ``branching``. ``fps`` takes the
    moments of the cells of farthest points. ``points`` fits nothing: ``n`` of the points, at random or farthest, become
    components, their covariance the floor; a shape of fewer points is an error.

    The weights of the result are priors: they are not negative and sum to one. The mixture's mean is the points'
    mean (but for ``eckart``, whose partition cuts small shares, and ``points``). Where a shape has fewer distinct
    points than components, the components left over have weight 0 (but for ``random_em``, whose all keep some).
    Computed in float64 and returned in the points' dtype.

    Args:
        weights: mass of each point, not negative; a point of mass 0 does not exist. Default: all equal.
        nodes: the extent of a point, for example a pixel: offsets from the point and shares of its mass, which
            sum to one. Clusters are made of whole points; moments and EM count every node.
        covariance_floor: added to the covariances' diagonals, times the square of the longest side of the shape's
            bounding box (times 1 where all points are equal).
        seed: of the random numbers, which are the same for every shape: a shape's fit does not depend on the others.
        progress: called with the number of shapes done, chunk by chunk.
        names: of the shapes, for errors; without them a shape is called by its number.
        **options: replace the method's presets; see :class:`gmcn.fitting.FitSettings`.

    Raises:
        InputError: bad sizes or options, values that are not finite, a shape whose points have no mass, or tensors
            that require gradients.
    """
    options = {key: value for key, value in options.items() if value is not None}
    said = {"components": n, "method": method, "covariance_floor": covariance_floor, "seed": seed, **options}
    check(FitSettings, said, "fit_points")
    preset = _options(method, n, options)
    mass = _check(points, weights, names)
    few = (mass > 0).sum(-1) < n
    if method == "points" and few.any():
        raise InputError(
            f"{which('shape', few, names)} has fewer than the {n} points that are to be chosen; choose fewer"
        )
    if nodes is None:
        nodes = points.new_zeros(1, points.shape[-1]), points.new_ones(1)
    count, dim = points.shape[0], points.shape[-1]
    if not count:
        return Mixture(points.new_empty(0, n), points.new_empty(0, n, dim), points.new_empty(0, n, dim, dim))
    numbers = dim if preset.get("init") == "random" else 1
    shape = (points.shape[1], 1) if method == "points" else (n, numbers)
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu").to(points.device)
    size = max(1, _CHUNK // max(1, points.shape[1] * len(nodes[1]) * n))

    def fit_chunk(start: int) -> Mixture:
        rows = slice(start, start + size)
        part = _fit_chunk(points[rows], mass[rows], n, method, uniform, nodes, covariance_floor, preset)
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
    threads, quiet = torch.get_num_threads(), torch.no_grad()(function)
    workers = threads if device.type == "cpu" else 1
    try:
        if len(starts) == 1:  # a pool would take longer than a small shape
            torch.set_num_threads(1)
            yield quiet(starts[0])
            return
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(quiet, starts)
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


def spread(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    nodes: tuple[Tensor, Tensor],  # [..., Q, D], [Q]
) -> tuple[Tensor, Tensor]:  # [S, M Q, D], [S, M Q]
    """Every point's nodes side by side, with their shares of its mass."""
    offsets, shares = (tensor.to(points) for tensor in nodes)
    return (points[:, :, None] + offsets).flatten(1, 2), (mass[..., None] * shares).flatten(1)


def _fit_chunk(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    n: int,
    method: str,
    uniform: Tensor,  # [N, 1 or D], or of points to choose from [M, 1]
    nodes: tuple[Tensor, Tensor],  # [Q, D], [Q]
    floor: float,
    options: dict,
) -> Mixture:
    points, mass = points.double(), mass.double()
    uniform = uniform.expand(len(points), -1, -1)
    nodes = tuple(tensor.to(points) for tensor in nodes)
    centre, side = unit_frame(points, mass)
    unit = (points - centre) / side
    share = mass / mass.sum(-1, keepdim=True)
    everywhere, fractions = spread(unit, share, (nodes[0] / side[..., None], nodes[1]))
    if method == "eckart":
        mixture = fit_hierarchy(everywhere, fractions, floor, **options)
    elif method == "points":
        mixture = _choose(unit, share, uniform[..., 0], floor, options["init"], n)
    elif options["init"] == "random":
        start = _random_start(everywhere, fractions, uniform, floor)
        mixture = em(everywhere, fractions, start, floor, options["em_steps"], options["tolerance"])[0]
    else:
        seeds, assignment = _clusters(unit, share, uniform[..., 0], options["init"], options["iterations"])
        assignment = assignment.repeat_interleave(len(nodes[1]), dim=1)
        mixture = moments(everywhere, fractions, assignment, seeds, floor)
        if options["em_steps"]:
            mixture = em(everywhere, fractions, mixture, floor, options["em_steps"], options["tolerance"])[0]
    return Mixture(mixture.weights, mixture.positions * side + centre, mixture.covariances * side.square()[..., None])


def _choose(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    uniform: Tensor,  # [S, M]
    floor: float,
    init: str,
    n: int,
) -> Mixture:  # [S, N]
    """Points themselves, without replacement, with their shares of the mass of all that are chosen."""
    if init == "farthest":
        chosen = kmeans.farthest_points(points, mass, n)
    else:
        chosen = torch.where(mass > 0, uniform, 2.0).topk(n, largest=False).indices  # the others lie below 1
    weights = mass.gather(1, chosen)
    return Mixture(
        weights / weights.sum(-1, keepdim=True),
        points.gather(1, chosen[..., None].expand(-1, -1, points.shape[-1])),
        floor * torch.eye(points.shape[-1], dtype=points.dtype, device=points.device).expand(*chosen.shape, -1, -1),
    )


def _clusters(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    uniform: Tensor,  # [S, N]
    init: str,
    iterations: int,
) -> tuple[Tensor, Tensor]:  # [S, N, D], [S, M]
    """The points k-means started from, and the clusters it found."""
    if init == "farthest":
        start = kmeans.farthest_points(points, mass, uniform.shape[1])
    else:
        start = kmeans.kmeans_plus_plus(points, mass, uniform)
    seeds = points.gather(1, start[..., None].expand(-1, -1, points.shape[-1]))
    return seeds, kmeans.lloyd(points, mass, seeds, iterations)[1]


def _random_start(points: Tensor, mass: Tensor, uniform: Tensor, floor: float) -> Mixture:
    """Equal Gaussians of the points' covariance, at positions drawn from a normal distribution of their moments."""
    n = uniform.shape[1]
    all_points = torch.zeros_like(mass, dtype=torch.long)
    whole = moments(points, mass, all_points, points[:, :1], floor)
    factor = torch.linalg.cholesky(whole.covariances)
    # Not 0, whose quantile is infinite.
    normal = torch.special.ndtri(uniform.clamp_min(torch.finfo(uniform.dtype).tiny))
    return Mixture(
        torch.full_like(uniform[..., 0], 1 / n),
        whole.positions + normal @ factor[:, 0].mT,
        whole.covariances.repeat(1, n, 1, 1),
    )


def _options(method: str, n: int, given: dict) -> dict:
    if method not in METHODS:
        raise unknown("fitting method", method, METHODS)
    preset = METHODS[method]
    for key in given:
        if key not in preset:
            raise unknown(f"option of the fit '{method}'", key, preset)
    options = preset | given
    if method == "points":
        if options["init"] == "kmeans++":
            raise InputError("init is 'kmeans++', which belongs to k-means; points are chosen 'random' or 'farthest'")
        return options
    if options.get("init") == "random" and method != "random_em":
        raise InputError(
            f"init is 'random', but '{method}' begins with clusters; EM from a random start is 'random_em'"
        )
    if "iterations" in given and options.get("init") == "random":
        raise InputError("iterations are those of k-means, which a random start does without; leave them out")
    if given.get("tolerance") and options["em_steps"] == 0:
        raise InputError("tolerance ends EM, of which em_steps: 0 takes no step; leave it out, or set em_steps")
    if options.get("init") == "random" and options["em_steps"] == 0:
        raise InputError("em_steps is 0; a random start is no fit before the first step")
    if method != "eckart":
        return options
    branching, threshold = options["branching"], options["partition_threshold"]
    if threshold >= 1 / branching:
        raise InputError(f"partition_threshold is {threshold}; a point needs a node: below 1 / branching")
    levels = next(level for level in range(1, 64) if branching**level >= n)
    if branching**levels != n:
        raise InputError(f"the number of Gaussians is {n}; '{method}' needs a power of its branching {branching}")
    return options | {"levels": levels}


def which(kind: str, bad: Tensor, names: Sequence[str] | None) -> str:  # bad [S]
    """The first that is bad, in words."""
    index = int(bad.int().argmax())
    return f"{kind} {index}" if names is None else f"'{names[index]}'"


def _check(points: Tensor, weights: Tensor | None, names: Sequence[str] | None) -> Tensor:
    """The points' masses [S, M], or an :class:`InputError`."""
    for name, given in (("points", points), ("weights", weights)):
        if given is not None and not isinstance(given, Tensor):
            raise InputError(f"{name} are {type(given).__name__}; they must be a tensor, as torch.as_tensor makes it")
    if points.dim() != 3 or points.shape[-1] not in (2, 3):
        raise InputError(f"points have shape {list(points.shape)}; they must be [shapes, points, 2 or 3]")
    if points.shape[1] == 0:
        raise InputError(f"the clouds are empty: points have shape {list(points.shape)}; a cloud needs a point or more")
    if points.dtype not in (torch.float32, torch.float64):
        raise InputError(f"points are {points.dtype}; they must be float32 or float64")
    for name, tensor in (("points", points), ("weights", weights)):
        if tensor is not None and _is_tracked(tensor):
            raise InputError(f"{name} are tracked by autograd, but a fit has no derivative; give {name}.detach()")
    mass = points.new_ones(points.shape[:2]) if weights is None else weights.to(points)
    if mass.shape != points.shape[:2]:
        raise InputError(f"weights have shape {list(mass.shape)}, the points {list(points.shape)}")
    bad = ~points.isfinite().all(-1).all(-1) | ~mass.isfinite().all(-1)
    if bad.any():
        raise InputError(f"{which('shape', bad, names)} has a coordinate or weight that is not finite; remove it")
    if (mass < 0).any():
        raise InputError(f"{which('shape', (mass < 0).any(-1), names)} has a negative weight; masses are not")
    lost = mass.sum(-1) <= 0
    if lost.any():
        raise InputError(f"{which('shape', lost, names)} has no point of positive weight; remove it")
    return mass


def _is_tracked(tensor: Tensor) -> bool:
    """True if derivatives with respect to it may be needed, in either mode."""
    return (tensor.requires_grad and torch.is_grad_enabled()) or forward_ad.unpack_dual(tensor).tangent is not None
