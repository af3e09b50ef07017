"""The dense fit of a convolution at the nodes of a reduction of its positive part."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference import tree as trees
from gmcn.ops.reference.convolve import convolve
from gmcn.ops.reference.convolve_fit import match_moments
from gmcn.ops.reference.evaluate import evaluate

ROUNDING = 1e-12  # of a running sum: a spread below it is none
# Of its mass, below which nothing of a node is left where it stands.
LEAST_DENSITY = {torch.float32: 1e-30, torch.float64: 1e-60}


def convolve_relu_nodes(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
) -> Mixture:  # [B, G, n]
    """The rectified convolution with ``n`` components: nodes of its positive part, each weighed at its mean.

    A node is the Gaussian with the mass, mean and covariance of its members. At its mean the convolution ``f`` and its
    positive part ``g`` are evaluated exactly, and max(0, f) / g of its mass stays. Slots without a member repeat the
    first node with weight 0; where there is none, they have position 0 and identity covariance.
    """
    nodes, f, g, _ = parts(data, kernels, n)
    void = g <= LEAST_DENSITY[g.dtype] * nodes.weights
    share = torch.where(void, 0.0, f.relu()) / torch.where(void, 1.0, g)  # a divisor is replaced before it makes 0/0
    return nodes._replace(weights=nodes.weights * share)


def parts(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
) -> tuple[Mixture, Tensor, Tensor, Tensor]:  # [B, G, n], [B, G, n], [B, G, n], [B, G, N*F*K]
    """The nodes with all their mass; f and g at their means; the node of each component, -1 where it has none."""
    convolved = convolve(data, kernels)
    positive = _pairs(torch.ones_like(data.weights, dtype=torch.bool), kernels.weights > 0)
    members = _pairs(data.weights > 0, kernels.weights > 0)
    flat = convolved.map(lambda tensor: tensor.detach().flatten(0, 1))
    chosen = [groups(*some, n) for some in zip(flat.weights, flat.positions, members.flatten(0, 1), strict=True)]
    group = torch.stack(chosen).reshape(members.shape) if chosen else members.long()

    def of(selected: Tensor) -> Mixture:
        return convolved._replace(weights=torch.where(selected, convolved.weights, 0.0))

    nodes = match_moments(of(members), group.clamp(min=0), n)
    empty = nodes.weights == 0
    g = torch.where(empty, 0.0, evaluate(of(positive), nodes.positions))
    f = torch.where(empty, 0.0, g + evaluate(of(~positive), nodes.positions))
    # A slot without a member stands where the first node does: what comes next must not see that there are fewer.
    repeats = empty & ~empty[..., :1]
    positions = torch.where(repeats[..., None], nodes.positions[..., :1, :], nodes.positions)
    covariances = torch.where(repeats[..., None, None], nodes.covariances[..., :1, :, :], nodes.covariances)
    weights = nodes.weights.masked_fill(convolved.weights.isnan().any(-1, keepdim=True), math.nan)
    return Mixture(weights, positions, covariances), f, g, group


def _pairs(
    of_data: Tensor,  # [B, F, N] bool
    of_kernels: Tensor,  # [G, F, K] bool
) -> Tensor:  # [B, G, N*F*K] bool
    """Which components of the convolution come from such data and from such a kernel."""
    return (of_data[:, None, None] & of_kernels.mT.unsqueeze(3)).flatten(2)


def groups(
    weights: Tensor,  # [N]
    positions: Tensor,  # [N, D]
    members: Tensor,  # [N] bool
    n: int,
) -> Tensor:  # [N]
    """Which of at most ``n`` nodes each member belongs to; -1 for all others.

    Ranges of the members' Morton order are split as in a radix tree: always the one of largest mass * q, where q is its
    sum of squared distances from its mean, weighted (none within the rounding of the running sums). The left part keeps
    its place, the right one is appended.
    """
    group = torch.full_like(members, -1, dtype=torch.long)
    index = members.nonzero()[:, 0]
    if len(index) == 0:
        return group
    positions = positions[index]
    low, high = positions.amin(0), positions.amax(0)
    scale = torch.where(high > low, 2**trees.BITS / (high - low), 0.0)
    codes = trees.cell_codes((positions - low) * scale)
    order = sorted(range(len(codes)), key=codes.__getitem__)  # stable
    keys = [codes[i] << 32 | place for place, i in enumerate(order)]
    sums = _prefix_sums(weights[index][order].double(), (positions - low)[order].double())

    def priority(first: int, end: int) -> float:
        if end - first == 1:
            return -math.inf  # nothing to split
        mass, *moments, squares = (b - a for a, b in zip(sums[first], sums[end], strict=True))
        if mass == 0:
            return 0.0
        spread = squares - sum(moment**2 for moment in moments) / mass
        return spread * mass if spread > ROUNDING * sums[end][-1] else 0.0

    ranges, priorities = [(0, len(order))], [priority(0, len(order))]
    while len(ranges) < n and (largest := max(priorities)) >= 0:
        place = priorities.index(largest)  # the first one on ties
        first, end = ranges[place]
        middle = trees.split(keys, first, end - 1)
        ranges[place], priorities[place] = (first, middle), priority(first, middle)
        ranges.append((middle, end))
        priorities.append(priority(middle, end))
    for node, (first, end) in enumerate(ranges):
        group[index[order[first:end]]] = node
    return group


def _prefix_sums(
    weights: Tensor,  # [N]
    positions: Tensor,  # [N, D]
) -> list[list[float]]:  # [N + 1][1 + D + 1]
    """Sums of w, w x and w |x|^2 over the components before each."""
    squares = (positions**2).sum(-1, keepdim=True)
    terms = weights[:, None] * torch.cat([torch.ones_like(squares), positions, squares], -1)
    start = [0.0] * terms.shape[1]
    return list(
        itertools.accumulate(terms.tolist(), lambda a, b: [p + q for p, q in zip(a, b, strict=True)], initial=start)
    )
