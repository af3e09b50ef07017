"""Fused convolution and fitting: the convolved components of every tree node become one Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference import tree as trees
from gmcn.ops.reference.convolve import convolve


def convolve_fit(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
) -> Mixture:  # [B, G, n]
    """The convolution with ``n`` components: each the moment match of one of the ``n`` heaviest nodes of a tree.

    The tree separates weights of different sign first and then follows the Morton codes of the centres. Nodes
    are ordered as they were split: the left child in its parent's place, the right one at the end. With fewer
    than ``n`` convolved components the rest have weight 0, position 0 and identity covariance.
    """
    convolved = convolve(data, kernels)
    batch, channels, components = convolved.weights.shape
    chosen = [
        _slots(weights.tolist(), positions, n)
        for weights, positions in zip(
            convolved.weights.detach().flatten(0, 1), convolved.positions.detach().flatten(0, 1), strict=True
        )
    ]
    slots = torch.tensor(chosen, dtype=torch.long, device=convolved.weights.device)
    return match_moments(convolved, slots.reshape(batch, channels, components), n)


def _slots(
    weights: list[float],  # [N]
    positions: Tensor,  # [N, D]
    n: int,
) -> list[int]:  # [N]
    """Which of the ``n`` selected tree nodes holds each component."""
    codes = trees.morton_codes(positions)
    keys = sorted((weight > 0) << 62 | codes[i] << 32 | i for i, weight in enumerate(weights))
    order = [key & 0xFFFFFFFF for key in keys]
    # Equal codes are split by rank, not by index.
    tree = trees.build([key >> 32 << 32 | rank for rank, key in enumerate(keys)], order)
    masses = tree.masses(weights)
    selected = [0]
    while len(selected) < n:
        eligible = [node for node in selected if not tree.is_leaf(node)]
        if not eligible:
            break
        node = max(eligible, key=lambda node: abs(masses[node]))  # the first one on ties
        selected[selected.index(node)] = tree.left[node]
        selected.append(tree.right[node])
    slots = [0] * len(weights)
    for slot, root in enumerate(selected):
        below = [root]
        while below:
            node = below.pop()
            if tree.is_leaf(node):
                slots[tree.component(node)] = slot
            else:
                below += [tree.left[node], tree.right[node]]
    return slots


def match_moments(
    mixture: Mixture,  # [B, G, N]
    slots: Tensor,  # [B, G, N]
    n: int,
) -> Mixture:  # [B, G, n]
    """The Gaussian with the mass, mean and covariance of each slot's components."""
    dim = mixture.dim

    def sum_slots(tensor: Tensor) -> Tensor:  # [B, G, N, ...] -> [B, G, n, ...]
        extra = tensor.shape[3:]
        index = slots.reshape(*slots.shape, *(1 for _ in extra)).expand_as(tensor)
        return tensor.new_zeros(*tensor.shape[:2], n, *extra).scatter_add(2, index, tensor)

    weights = sum_slots(mixture.weights)
    empty = weights == 0
    # A slot without weight has no mean; its divisor is replaced before it can make 0/0.
    parts = mixture.weights / torch.where(empty, 1.0, weights).gather(2, slots)
    positions = sum_slots(parts[..., None] * mixture.positions)
    delta = mixture.positions - positions.gather(2, slots[..., None].expand_as(mixture.positions))
    spreads = mixture.covariances + delta[..., :, None] * delta[..., None, :]
    covariances = sum_slots(parts[..., None, None] * spreads)
    identity = torch.eye(dim, dtype=weights.dtype, device=weights.device)
    return Mixture(
        weights,
        torch.where(empty[..., None], 0.0, positions),
        torch.where(empty[..., None, None], identity, covariances),
    )
