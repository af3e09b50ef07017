"""Clouds of tables and of surfaces of revolution about z, whose symmetries are known; all from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def box(low: Tensor, high: Tensor, count: int, generator: torch.Generator) -> Tensor:  # [count, 3]
    """On the surface, equally dense."""
    size = high - low
    areas = torch.stack([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
    side = areas.repeat(2).multinomial(count, replacement=True, generator=generator)
    points = low + torch.rand(count, 3, generator=generator, dtype=torch.float64) * size
    rows = torch.arange(count)
    points[rows, side % 3] = torch.where(side < 3, low[side % 3], high[side % 3])
    return points


def table(width: float, depth: float, seed: int = 0, count: int = 1024) -> Tensor:  # [about count, 3]
    """A board on four legs."""
    generator, leg = torch.Generator().manual_seed(seed), 0.05
    half = torch.tensor([width, depth, 0.0]).double()
    board = box(half * -1 + torch.tensor([0, 0, 0.7]), half + torch.tensor([0, 0, 0.75]), count * 6 // 10, generator)
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            corner = half * torch.tensor([x, y, 0])
            inner = corner - leg * torch.tensor([x, y, 0])
            low, high = torch.minimum(corner, inner), torch.maximum(corner, inner) + torch.tensor([0, 0, 0.7])
            legs.append(box(low, high, count // 10, generator))
    return torch.cat([board, *legs])


def revolved(radius: Callable[[Tensor], Tensor], seed: int = 0, count: int = 1024) -> Tensor:  # [count, 3]
    """Rings of this radius at heights from 0 to 1, stretched to 1.2."""
    generator = torch.Generator().manual_seed(seed)
    heights, turns = torch.rand(2, count, generator=generator, dtype=torch.float64)
    radii = radius(heights)
    angles = 2 * math.pi * turns
    return torch.stack([radii * angles.cos(), radii * angles.sin(), 1.2 * heights], -1)


def vase(seed: int = 0) -> Tensor:
    return revolved(lambda height: 0.3 + 0.15 * (6 * height).sin(), seed)


def chair(seed: int = 0) -> Tensor:
    """A square table with a back: nothing of it is symmetric under a turn."""
    generator = torch.Generator().manual_seed(seed + 1000)
    back = box(torch.tensor([-0.6, 0.55, 0.75]).double(), torch.tensor([0.6, 0.6, 1.6]).double(), 300, generator)
    return torch.cat([table(0.6, 0.6, seed), back])
