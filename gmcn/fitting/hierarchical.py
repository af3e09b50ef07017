"""Hierarchical EM of Eckart et al. (CVPR 2016), with a soft partition of the points among the nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.fitting import kmeans, reference
from gmcn.fitting.em import em, moments
from gmcn.mixture import Mixture

# Points times children of the nodes that are fitted at a time.
_CHUNK = 1 << 18


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
        children, parts = _next_level(
            points, mass, owner, belongs, floor, branching, partition_threshold, em_steps, tolerance
        )
        weights = (prior[:, None] * children.weights).flatten()
        children = children.map(lambda tensor: tensor.flatten(0, 1))
        owner = owner.repeat_interleave(branching)
        if level == levels - 1:
            leaves.append((owner, weights, children))
            break
        total = parts.new_zeros(shapes, count).index_add_(0, owner, parts)
        parts /= total.clamp_min(torch.finfo(parts.dtype).tiny)[owner]
        inner = ((parts * mass[owner]).sum(-1) > 0) & (weights > 0)
        leaves.append((owner[~inner], weights[~inner], children.map(lambda tensor, kept=~inner: tensor[kept])))
        owner, prior, belongs = owner[inner], weights[inner], parts[inner]
    return _gather(leaves, shapes, branching**levels, dim)


def _next_level(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    owner: Tensor,  # [P], the nodes' shapes
    belongs: Tensor,  # [P, M]
    floor: float,
    n: int,
    threshold: float,
    em_steps: int,
    tolerance: float,
) -> tuple[Mixture, Tensor]:  # [P, n], [P n, M]
    """The children of every node, and each point's part in them, not yet divided by the sum over all nodes.

    Nodes are independent; some at a time bound the memory.
    """
    fitted, parts = [], []
    for nodes in torch.arange(len(owner), device=owner.device).split(max(1, _CHUNK // (points.shape[1] * n))):
        x, share = points[owner[nodes]], mass[owner[nodes]] * belongs[nodes]
        share = share / share.sum(-1, keepdim=True)
        start = kmeans.farthest_points(x, share, n)
        seeds = x.gather(1, start[..., None].expand(-1, -1, x.shape[-1]))
        _, assignment = kmeans.lloyd(x, share, seeds, 0)
        children = em(x, share, moments(x, share, assignment, seeds, floor), floor, em_steps, tolerance)[0]
        gamma = torch.softmax(reference.log_densities(reference.monomials(x), children), dim=-1).mT  # [nodes, n, M]
        fitted.append(children)
        parts.append((belongs[nodes][:, None] * torch.where(gamma > threshold, gamma, 0.0)).flatten(0, 1))
    return Mixture(*(torch.cat(column) for column in zip(*fitted, strict=True))), torch.cat(parts)


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
