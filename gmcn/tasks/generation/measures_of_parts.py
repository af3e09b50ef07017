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

from gmcn.data.primitives import box
from gmcn.data.samples import normalize

PARTS = ("seat", "back", "front left leg", "front right leg", "back left leg", "back right leg")
CHAIRS = 200
SEED = 0


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
        low, high = (np.array([pair[end] for pair in corners], dtype=float) for end in (0, 1))
        cloud, own = _on_boxes(low, high, points, rng)
        clouds.append(normalize(cloud))
        parts.append(own)
    return torch.from_numpy(np.stack(clouds)), torch.from_numpy(np.stack(parts))


def _on_boxes(
    low: np.ndarray,  # [P, 3]
    high: np.ndarray,
    points: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # [M, 3], [M]
    """Points on the surfaces of boxes, by area, and the box of each."""
    meshes = [box(*ends) for ends in zip(low, high, strict=True)]
    corners = np.concatenate([vertices[triangles] for vertices, triangles in meshes])  # [T, 3, 3]
    owners = np.repeat(np.arange(len(meshes)), [len(triangles) for _, triangles in meshes])
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    chosen = rng.choice(len(areas), points, p=areas / areas.sum())
    shares = rng.dirichlet(np.ones(3), points)
    return (shares[..., None] * corners[chosen]).sum(1), owners[chosen]


def majority(groups: Tensor, parts: Tensor) -> Tensor:  # [M], [M] -> [G]
    """The part that most points of each group are of; groups are numbers from 0."""
    counts = torch.zeros(int(groups.max()) + 1, int(parts.max()) + 1, dtype=torch.long)
    counts.index_put_((groups, parts), torch.ones((), dtype=torch.long), accumulate=True)
    return counts.argmax(1)


def purity(groups: Tensor, parts: Tensor) -> float:  # [M], [M]
    """The share of points that are of the part that most points of their group are of."""
    return (majority(groups, parts)[groups] == parts).double().mean().item()


def of_leaves(network: Any, seen: int, device: torch.device | str = "cpu", chairs: int = CHAIRS) -> dict[str, float]:
    """``purity`` of a network's leaves, of which it sees so many points of each chair, and of ``cells``."""
    from sklearn.cluster import KMeans

    clouds, parts = make_chairs(chairs, seen)
    with torch.no_grad():
        leaves = [
            network(part.to(device)).leaves().responsibilities(part.to(device)).argmax(-1).cpu()
            for part in clouds.split(50)
        ]
    flat, labels = clouds.flatten(0, 1), parts.flatten()
    cells = KMeans(min(network.leaves, len(flat)), n_init=1, random_state=SEED).fit_predict(flat.double().numpy())
    return {
        "purity": purity(torch.cat(leaves).flatten(), labels),
        "cells": purity(torch.from_numpy(cells).long(), labels),
    }
