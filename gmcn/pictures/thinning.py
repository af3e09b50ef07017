"""Thins large objects to as much as one can see, so that pictures stay fast and pages small."""

from __future__ import annotations

import numpy as np
import torch

from gmcn.data.pictures import scale
from gmcn.fitting import reduce_mixtures
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import visible
from gmcn.pictures.shapes import Shape

# So much is drawn: spheres that cover a picture, a page of some MB that turns smoothly.
POINTS = 50_000
GAUSSIANS = 10_000
TRIANGLES = 200_000
PIXELS = 1024  # on an image's longer side
_CELLS = 512  # along a mesh's longest side, about as many as a picture has pixels


def some_points(points: np.ndarray) -> np.ndarray:  # [M, D] -> [M', D]
    """The points, or a random choice among them, always the same one, in their order."""
    if len(points) <= POINTS:
        return points
    return points[np.sort(np.random.default_rng(0).choice(len(points), POINTS, replace=False))]


def fewer_gaussians(mixture: Mixture) -> Mixture:  # [N] -> [N']
    """The Gaussians whose weight is not zero, in float64 on the CPU; TreeHEM's reduction of them if they are many."""
    mixture = visible(mixture)
    if mixture.components <= GAUSSIANS:
        return mixture
    parts = []
    for sign in (1, -1):
        chosen = sign * mixture.weights > 0
        if count := int(chosen.sum()):
            some = Mixture(sign * mixture.weights, *mixture[1:]).map(lambda tensor, chosen=chosen: tensor[chosen][None])
            less = reduce_mixtures(some, max(1, GAUSSIANS * count // mixture.components), ["what is drawn"])
            parts.append(less._replace(weights=sign * less.weights))
    return visible(Mixture(*(torch.cat(column, 1)[0] for column in zip(*parts, strict=True))))


def coarse(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [V, 3], [T, 3]
    """The mesh, or one of at most ``TRIANGLES``: vertices of one cell of a grid become one, in their middle."""
    cells, shown = float(_CELLS), triangles
    side = np.ptp(vertices, axis=0).max() if len(vertices) else 0.0
    while len(shown) > TRIANGLES:
        places = np.floor((vertices - vertices.min(0)) * (cells / (side or 1.0))).astype(np.int64)
        _, cell, count = np.unique(places @ (1, 4096, 4096**2), return_inverse=True, return_counts=True)
        middles = np.stack([np.bincount(cell, axis) for axis in vertices.T], -1) / count[:, None]
        corners = cell[triangles]
        shown = corners[(corners != np.roll(corners, 1, axis=-1)).all(-1)]  # those that still have an area
        # A surface has about as many triangles as the square of its cells.
        cells *= min(0.9, (TRIANGLES / max(1, len(shown))) ** 0.5)
    return (vertices, triangles) if shown is triangles else (middles, shown)


def thumbnail(image: np.ndarray) -> np.ndarray:  # [H, W] -> [H', W'] float32
    """The image, or one of at most ``PIXELS`` a side."""
    share = PIXELS / max(image.shape)
    if share >= 1:
        return image
    return scale(image.astype(np.float32), *(max(1, round(side * share)) for side in image.shape))


def remark(shape: Shape, page: bool) -> str | None:
    """How much of an object is drawn, where that is less than there is: on a ``page``, or in a still picture."""
    parts = []
    if shape.mixture is not None and shape.mixture.components > GAUSSIANS:
        parts.append(f"{GAUSSIANS:,} Gaussians in their place")
    if shape.triangles is not None:
        if page and len(shape.triangles) > TRIANGLES:
            parts.append(f"a mesh of at most {TRIANGLES:,} triangles")
    elif shape.points is not None and len(shape.points) > POINTS:
        parts.append(f"{POINTS:,} points chosen at random")
    if shape.image is not None and max(shape.image.shape) > PIXELS:
        parts.append(f"at most {PIXELS:,} pixels a side")
    return f"drawn: {' and '.join(parts)}" if parts else None
