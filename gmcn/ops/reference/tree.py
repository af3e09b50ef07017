"""Binary radix trees over Morton codes of component centres (Lauterbach et al. 2009, Karras 2012)."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import torch
from torch import Tensor

BITS = 10  # per axis


class Tree(NamedTuple):
    """A binary tree over N sorted leaves: N - 1 inner nodes (0 is the root), then leaf i at N - 1 + i."""

    order: list[int]  # [N] component of each leaf
    left: list[int]  # [N - 1]
    right: list[int]  # [N - 1]
    top_down: list[int]  # [N - 1] inner nodes, parents before their children

    def is_leaf(self, node: int) -> bool:
        return node >= len(self.left)

    def component(self, node: int) -> int:
        """The component of a leaf."""
        return self.order[node - len(self.left)]

    def masses(self, weights: list[float]) -> list[float]:
        """Sum of the weights below every node, children's sums added pairwise."""
        masses = [0.0] * len(self.left) + [weights[component] for component in self.order]
        for node in reversed(self.top_down):
            masses[node] = masses[self.left[node]] + masses[self.right[node]]
        return masses


def morton_codes(
    positions: Tensor,  # [N, D]
) -> list[int]:  # [N]
    """Cells of the bounding box's 1024^D grid along the Z-order curve; x is the most significant axis."""
    low, high = positions.amin(0), positions.amax(0)
    return cell_codes(torch.nan_to_num((positions - low) / (high - low), nan=0.0) * 2**BITS)


def cell_codes(
    cells: Tensor,  # [N, D]
) -> list[int]:  # [N]
    """Z-order codes of positions in units of the grid's cells."""

    def interleave(cell: list[int]) -> int:
        code = 0
        for axis, value in enumerate(cell):
            for bit in range(BITS):
                code |= (value >> bit & 1) << (3 * bit + 2 - axis)
        return code

    return [interleave(cell) for cell in cells.clamp(0, 2**BITS - 1).long().tolist()]


def split(
    keys: list[int],  # [N] ascending, all different
    first: int,
    last: int,
) -> int:
    """First of the keys ``first`` to ``last`` (included) that goes right: has the highest bit in which they differ."""
    bit = (keys[first] ^ keys[last]).bit_length() - 1
    return bisect_left(keys, keys[last] >> bit << bit, first, last)


def build(
    keys: list[int],  # [N] ascending, all different
    order: list[int],  # [N]
) -> Tree:
    """Split every range of keys at the highest bit in which its ends differ; zeros go left."""
    leaves = len(keys)
    left, right, top_down = [0] * (leaves - 1), [0] * (leaves - 1), []
    ranges = [(0, 0, leaves - 1)] if leaves > 1 else []
    while ranges:
        node, first, last = ranges.pop()
        top_down.append(node)
        middle = split(keys, first, last)
        # Karras' numbering: an inner node has the number of the end of its range that touches its sibling.
        left[node] = middle - 1 if middle - 1 > first else leaves - 1 + first
        right[node] = middle if middle < last else leaves - 1 + last
        if middle - 1 > first:
            ranges.append((middle - 1, first, middle - 1))
        if middle < last:
            ranges.append((middle, middle, last))
    return Tree(order, left, right, top_down)
