"""Hierarchical EM of Eckart et al. (CVPR 2016), with a soft partition of the points among the nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.fitting import kmeans, reference
from gmcn.fitting.em import em, moments
from gmcn.mixture import Mixture


def fit_hierarchy(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    floor: float,
    *,
    branching: int,
    levels: int,
    partition_threshold: float,
    em_steps: int,
    tolerance: float,
) -> Mixture:  # [S, branching ** levels]
    """Every node's points are fitted by ``branching`` Gaussians, which are the nodes of the next level.

    A level starts from the moments of the cells around the farthest of a node's points, and EM ends for each node by
    itself (see :func:`gmcn.fitting.em.em`). A point then belongs to those children whose responsibility for it, among
    their siblings, is above ``partition_threshold``, in proportion. The mixture has the last level's Gaussians and
    those before it to which no point belongs; weights are multiplied along the parents. What is left over has weight 0.
    """
    shapes, count, dim = points.shape
    owner = torch.arange(shapes, device=points.device)
    prior = mass.new_ones(shapes)
    belongs = torch.ones_like(mass)  # [P, M]: each point's share in every node, 1 over all nodes of a shape
    leaves = []
    for level in range(levels):
        share = mass[owner] * belongs
        share = share / share.sum(-1, keepdim=True)
        x = points[owner]
        children = _fit_nodes(x, share, floor, branching, em_steps, tolerance)
        weights = prior[:, None] * children.weights
        if level == levels - 1:
            leaves.append((owner.repeat_interleave(branching), weights, children))
            break
        logs = reference.log_densities(reference.monomials(x), children)
        gamma = torch.softmax(logs, dim=-1).mT  # [P, branching, M]
        parts = (belongs[:, None] * torch.where(gamma > partition_threshold, gamma, 0.0)).flatten(0, 1)
        owner = owner.repeat_interleave(branching)
        total = parts.new_zeros(shapes, count).index_add_(0, owner, parts)
        parts = parts / total.clamp_min(torch.finfo(parts.dtype).tiny)[owner]
        weights = weights.flatten()
        inner = ((parts * mass[owner]).sum(-1) > 0) & (weights > 0)
        leaves.append((owner[~inner], weights[~inner], children.map(lambda t, kept=~inner: t.flatten(0, 1)[kept])))
        owner, prior, belongs = owner[inner], weights[inner], parts[inner]
    return _gather(leaves, shapes, branching**levels, dim)


def _fit_nodes(
    points: Tensor,  # [P, M, D]
    mass: Tensor,  # [P, M]
    floor: float,
    n: int,
    em_steps: int,
    tolerance: float,
) -> Mixture:  # [P, n]
    start = kmeans.farthest_points(points, mass, n)
    seeds = points.gather(1, start[..., None].expand(-1, -1, points.shape[-1]))
    _, assignment = kmeans.lloyd(points, mass, seeds, 0)
    mixture = moments(points, mass, assignment, seeds, floor)
    return em(points, mass, mixture, floor, em_steps, tolerance)[0]


def _gather(leaves: list[tuple[Tensor, Tensor, Mixture]], shapes: int, n: int, dim: int) -> Mixture:
    """All leaves with weight of each shape, in order, filled up by copies of its first without weight."""
    owner = torch.cat([part[0] for part in leaves])
    weights = torch.cat([part[1].flatten() for part in leaves])
    positions = torch.cat([part[2].positions.reshape(-1, dim) for part in leaves])
    covariances = torch.cat([part[2].covariances.reshape(-1, dim, dim) for part in leaves])
    present = (weights > 0).nonzero().squeeze(1)
    present = present[owner[present].argsort(stable=True)]
    owner = owner[present]
    first = torch.searchsorted(owner, torch.arange(shapes, device=owner.device))
    place = torch.arange(len(present), device=owner.device) - first[owner]
    source = present[first][:, None].repeat(1, n)
    source[owner, place] = present
    taken = torch.zeros_like(source, dtype=torch.bool)
    taken[owner, place] = True
    kept = torch.where(taken, weights[source], 0.0)
    return Mixture(kept / kept.sum(-1, keepdim=True), positions[source], covariances[source])
