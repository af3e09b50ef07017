"""Whether a leaf is the same part of every object: purity on chairs whose parts are known, since we have made them.

A tree has the same leaves for all objects. Of points of many chairs, each is given to the leaf that it most likely
comes from, and the leaf to the part that most of its points are of, in all chairs together: ``purity`` is the share of
points that are of their leaf's part. ``cells`` is the same of as many clusters of k-means of all chairs' points, which
know where a point is and not in which chair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.data.meshes import sample_mesh
from gmcn.data.primitives import box
from gmcn.data.samples import normalize

PARTS = ("seat", "back", "front left leg", "front right leg", "back left leg", "back right leg")
CHAIRS = 200
SEED = 0
BATCH = 50  # bounds memory


def make_chairs(count: int, points: int, seed: int = SEED) -> tuple[Tensor, Tensor]:  # [S, M, 3], [S, M]
    """Chairs of boxes with random sizes, and the part that each point is of, by its place in :data:`PARTS`.

    As ModelNet40's: upwards is z, the back is at the largest y, and all lies in the unit sphere.
    """
    clouds, parts = [], []
    for place in range(count):
        rng = np.random.default_rng([seed, place])
        width, depth, height = rng.uniform((0.8, 0.8, 0.7), (1.2, 1.1, 1.1))
        seat, back, leg = rng.uniform((0.06, 0.05, 0.05), (0.16, 0.12, 0.11))
        top = height + rng.uniform(0.7, 1.2)
        corners = [([0, 0, height - seat], [width, depth, height]), ([0, depth - back, height], [width, depth, top])]
        corners += [([x, y, 0], [x + leg, y + leg, height - seat]) for y in (0, depth - leg) for x in (0, width - leg)]
        sides = np.array([np.subtract(high, low) for low, high in corners])
        areas = (sides * np.roll(sides, 1, axis=1)).sum(1)
        counts = rng.multinomial(points, areas / areas.sum())
        boxes = [
            sample_mesh(*box(*ends), count, seed=int(rng.integers(2**31)))
            for ends, count in zip(corners, counts, strict=True)
            if count
        ]
        clouds.append(normalize(np.concatenate(boxes)))
        parts.append(np.repeat(np.arange(len(corners)), counts))
    return torch.from_numpy(np.stack(clouds)), torch.from_numpy(np.stack(parts))


def majority(groups: Tensor, parts: Tensor) -> Tensor:  # [M], [M] -> [G]
    """The part that most points of each group are of; groups are numbers from 0."""
    counts = torch.zeros(int(groups.max()) + 1, int(parts.max()) + 1, dtype=torch.long)
    counts.index_put_((groups, parts), torch.ones((), dtype=torch.long), accumulate=True)
    return counts.argmax(1)


def purity(groups: Tensor, parts: Tensor) -> float:  # [M], [M]
    """The share of points that are of the part that most points of their group are of."""
    return (majority(groups, parts)[groups] == parts).double().mean().item()


def owners(network: Any, clouds: Tensor, device: torch.device | str = "cpu") -> Tensor:  # [S, M, 3] -> [S, M]
    """The leaf that each point of a cloud most likely comes from, where the network sees all of the cloud."""
    with torch.no_grad():
        found = [network(part).leaves().responsibilities(part).argmax(-1) for part in clouds.to(device).split(BATCH)]
    return torch.cat(found).cpu()


def of_leaves(network: Any, seen: int, device: torch.device | str = "cpu", chairs: int = CHAIRS) -> dict[str, float]:
    """``purity`` of a network's leaves, of which it sees so many points of each chair, and of ``cells``."""
    from sklearn.cluster import KMeans

    clouds, parts = make_chairs(chairs, seen)
    flat, labels = clouds.flatten(0, 1), parts.flatten()
    cells = KMeans(min(network.leaves, len(flat)), n_init=1, random_state=SEED).fit_predict(flat.double().numpy())
    return {
        "purity": purity(owners(network, clouds, device).flatten(), labels),
        "cells": purity(torch.from_numpy(cells).long(), labels),
    }
