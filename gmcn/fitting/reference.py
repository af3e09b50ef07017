"""Plain-torch twins of the compiled fitting operations, batched over shapes: what tests compare with, and what runs
on CUDA. Same names, arguments and results as in :mod:`gmcn.fitting.kmeans` and :mod:`gmcn.fitting.em`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from gmcn.mixture import Mixture

PAIRS = 1 << 22  # of a point and a centre at a time; bounds memory
# A component below this share of the mass has no shape of its own.
EMPTY_MASS = 1e-12
# Squared distance, in unit coordinates, below which a point lies on its centre but for rounding.
COINCIDENT = 1e-24


def kmeans_plus_plus(points: Tensor, mass: Tensor, uniform: Tensor) -> Tensor:
    """Twin of :func:`gmcn.fitting.kmeans.kmeans_plus_plus`."""
    return _pick(points, mass, uniform.shape[-1], lambda density, k: _draw(density, uniform[:, k]))


def farthest_points(points: Tensor, mass: Tensor, n: int) -> Tensor:
    """Twin of :func:`gmcn.fitting.kmeans.farthest_points`."""
    present = (mass > 0).to(points)
    return _pick(points, present, n, lambda density, k: density.argmax(-1))


def lloyd(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    centres: Tensor,  # [S, N, D]
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """Twin of :func:`gmcn.fitting.kmeans.lloyd`."""
    centres = centres.clone()
    assignment = _nearest(points, centres)
    active = torch.arange(points.shape[0], device=points.device)
    x, m, a = points, mass, assignment
    for _ in range(iterations):
        c = _means(x, m, a, centres[active])
        new = _nearest(x, c)
        changed = ((new != a) & (m > 0)).any(-1)
        centres[active], assignment[active] = c, new
        if not changed.any():
            break
        active = active[changed]
        x, m, a = (x, m, new) if changed.all() else (x[changed], m[changed], new[changed])
    return centres, torch.where(mass > 0, assignment, 0)


def em(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    mixture: Mixture,  # [S, N]
    floor: float,
    steps: int,
    tolerance: float = 0.0,
) -> tuple[Mixture, Tensor, Tensor]:
    """Twin of :func:`gmcn.fitting.em.em`."""
    shapes = len(points)
    taken, likelihood = mass.new_zeros(shapes), mass.new_zeros(shapes)
    before = mass.new_full((shapes,), -torch.inf)
    active = torch.arange(shapes, device=points.device)
    result = Mixture(*(tensor.clone() for tensor in mixture))
    phi = monomials(points)
    for step in range(steps):
        part = Mixture(*(tensor[active] for tensor in result))
        logs = log_densities(phi[active], part)
        share = mass[active]
        now = torch.where(share > 0, share * logs.logsumexp(-1), 0.0).sum(-1)
        responsibilities = torch.softmax(logs, dim=-1) * share[..., None]
        part = m_step(responsibilities.mT @ phi[active], part.positions, floor)
        for whole, new in zip(result, part, strict=True):
            whole[active] = new
        taken[active], likelihood[active] = step + 1.0, now
        going = torch.ones_like(active, dtype=torch.bool) if tolerance <= 0 else ~(now - before[active] < tolerance)
        before[active] = now
        active = active[going]
        if not len(active):
            break
    return result, taken, likelihood


def monomials(points: Tensor) -> Tensor:
    """[..., M, D] -> [..., M, 1 + D + D (D + 1) / 2]: one, the coordinates, their products (upper triangle).

    A Gaussian's log-density is linear in them, and so are the sufficient statistics of the M-step. In float64 and unit
    coordinates the cancellation in ``E[x x^T] - mean mean^T`` costs nothing that float32 results would show.
    """
    rows, columns = torch.triu_indices(points.shape[-1], points.shape[-1], device=points.device)
    ones = torch.ones_like(points[..., :1])
    return torch.cat([ones, points, points[..., rows] * points[..., columns]], dim=-1)


def m_step(
    statistics: Tensor,  # [S, N, 1 + D + D (D + 1) / 2]
    fallback: Tensor,  # [S, N, D]
    floor: float,
) -> Mixture:  # [S, N]
    """Weights, means and covariances from the sums over points of mass times monomials.

    ``statistics[..., 0]`` are the masses, which sum to one per shape and become the weights. ``floor`` is added to
    every diagonal. A component without mass gets weight 0, its ``fallback`` position and the mixture's mean covariance.
    """
    dim = fallback.shape[-1]
    mass = statistics[..., 0]
    empty = mass <= EMPTY_MASS
    share = statistics[..., 1:] / mass.clamp_min(EMPTY_MASS)[..., None]
    means = torch.where(empty[..., None], fallback, share[..., :dim])
    second = _symmetric(share[..., dim:], dim)
    identity = torch.eye(dim, dtype=means.dtype, device=means.device)
    covariances = second - means[..., :, None] * means[..., None, :]
    covariances = covariances + floor * identity
    weights = torch.where(empty, 0.0, mass)
    weights = weights / weights.sum(-1, keepdim=True)
    average = torch.einsum("sn,snij->sij", weights, torch.where(empty[..., None, None], 0.0, covariances))
    covariances = torch.where(empty[..., None, None], average[:, None], covariances)
    return Mixture(weights, means, covariances)


def log_densities(
    phi: Tensor,  # [S, M, 1 + D + D (D + 1) / 2]
    mixture: Mixture,  # [S, N]
) -> Tensor:  # [S, M, N]
    """Logarithm of weight times density."""
    dim = mixture.dim
    factors = torch.linalg.cholesky(mixture.covariances)
    precisions = torch.cholesky_inverse(factors)
    linear = (precisions @ mixture.positions[..., None])[..., 0]
    log_det = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = mixture.weights.log() - 0.5 * (
        dim * math.log(2 * math.pi) + log_det + (linear * mixture.positions).sum(-1)
    )
    rows, columns = torch.triu_indices(dim, dim, device=phi.device)
    # Off-diagonal products stand once in the monomials and twice in the quadratic form.
    factor = torch.where(rows == columns, -0.5, -1.0).to(precisions)
    coefficients = torch.cat([constant[..., None], linear, factor * precisions[..., rows, columns]], dim=-1)
    # log(0) of an empty component would make 0 * inf elsewhere; as a number far below everything it stays inert.
    coefficients = torch.nan_to_num(coefficients, neginf=-1e300)
    return phi @ coefficients.mT


def sum_clusters(values: Tensor, assignment: Tensor, n: int) -> Tensor:
    """[S, M, F], [S, M] -> [S, N, F]: sums of the values over each cluster, in the points' order."""
    result = values.new_zeros(values.shape[0], n, values.shape[-1])
    return result.scatter_add_(1, assignment[..., None].expand_as(values), values)


def _symmetric(upper: Tensor, dim: int) -> Tensor:
    """[..., D (D + 1) / 2] upper triangles -> [..., D, D]."""
    rows, columns = torch.triu_indices(dim, dim, device=upper.device)
    full = upper.new_empty(*upper.shape[:-1], dim, dim)
    full[..., rows, columns] = upper
    full[..., columns, rows] = upper
    return full


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """[S, M, D], [S, N, D] -> [S, M]: index of the nearest centre, of some points at a time."""
    # |x|^2 is the same for all centres, so one matrix product with (x, 1) ranks them.
    extended = torch.cat([centres * -2, centres.square().sum(-1, keepdim=True)], dim=-1)
    parts = points.split(max(1, PAIRS // max(1, centres.shape[:-1].numel())), 1)
    return torch.cat([(pad(part, (0, 1), value=1.0) @ extended.mT).argmin(-1) for part in parts], 1)


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
    useful = (far.gather(1, rank) > COINCIDENT) & (empty.cumsum(-1) <= count)
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
    cumulative = density.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_max(density.shape[-1] - 1)
    # Rounding can put the target onto the end: step back to the last point that has density.
    last = density.shape[-1] - 1 - (density.flip(-1) > 0).to(torch.uint8).argmax(-1)
    return torch.minimum(index, last)
