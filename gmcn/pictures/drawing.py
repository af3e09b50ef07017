"""The parts of pictures of mixtures: ellipsoids, ellipses, values on a grid, colours. Numbers only, no plotting."""

from __future__ import annotations

import numpy as np
import torch

from gmcn import ops
from gmcn.mixture import Mixture

# A Gaussian is drawn where its squared Mahalanobis distance is this squared: neighbours of a fit then just meet.
DEVIATIONS = 1.5
# From the lowest to the highest: a height reads as a colour, the same one in every picture of a shape.
RAMP = np.array(((0.29, 0.32, 0.58), (0.22, 0.48, 0.64), (0.24, 0.63, 0.60), (0.52, 0.75, 0.47), (0.90, 0.80, 0.39)))
POSITIVE, NEGATIVE = np.array((0.80, 0.36, 0.31)), np.array((0.26, 0.47, 0.73))
PLAIN = np.array((0.60, 0.67, 0.75))
AXES = ("x", "y", "z")
Box = tuple[float, float, float, float]  # left, right, top, bottom


def visible(mixture: Mixture) -> Mixture:
    """The components [N'] of a mixture [N] whose weight is not zero, in float64 on the CPU."""
    mixture = mixture.detach().to("cpu", torch.float64)
    present = mixture.weights != 0
    return mixture.map(lambda tensor: tensor[present])


def height_colours(points: np.ndarray, up: str = "z") -> np.ndarray:
    """A colour [M, 3] in [0, 1] for each of the points [M, 3], by its place along the axis ``up``."""
    heights = points[:, AXES.index(up)]
    share = (heights - heights.min(initial=np.inf)) / (np.ptp(heights) or 1.0) if len(heights) else heights
    steps = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(share, steps, channel) for channel in RAMP.T], -1)


def component_colours(mixture: Mixture, up: str = "z") -> np.ndarray:
    """A colour [N, 3] in [0, 1] for each component of a mixture [N], D = 3.

    By height, lighter and darker in turn, so that neighbours are told apart; red and blue by the weight's sign where
    there are both.
    """
    weights = mixture.weights.detach().cpu().numpy()
    if (weights < 0).any():
        colours = np.where(weights[:, None] < 0, NEGATIVE, POSITIVE)
    else:
        colours = height_colours(mixture.positions.detach().cpu().numpy(), up)
    shades = 1 + 0.24 * (np.arange(len(weights)) * 0.618 % 1 - 0.5)  # multiples of the golden ratio never bunch
    return np.clip(colours * shades[:, None], 0, 1)


def icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] on the unit sphere and triangles [T, 3], T = 20 * 4^subdivisions, corners counter-clockwise."""
    golden = (1 + 5**0.5) / 2
    corners = [(0, y, z * golden) for y in (-1, 1) for z in (-1, 1)]
    vertices = np.array([np.roll(corner, axis) for axis in range(3) for corner in corners])
    vertices /= np.linalg.norm(vertices[0])
    # Its faces are the triples of corners at the smallest distance from each other.
    near = np.linalg.norm(vertices[:, None] - vertices, axis=-1) < 1.1
    triples = ((a, b, c) for a in range(12) for b in range(a + 1, 12) for c in range(b + 1, 12))
    triangles = np.array([t for t in triples if near[t[0], t[1]] and near[t[0], t[2]] and near[t[1], t[2]]])
    inward = np.linalg.det(vertices[triangles]) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    for _ in range(subdivisions):
        vertices, triangles = _subdivided(vertices, triangles)
    return vertices, triangles


def _subdivided(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=-1)  # [T, 3, 2]
    unique, middle = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    middles = vertices[unique].mean(1)
    middles /= np.linalg.norm(middles, axis=-1, keepdims=True)
    (a, b, c), (ab, bc, ca) = triangles.T, (middle.reshape(-1, 3) + len(vertices)).T
    parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return np.concatenate([vertices, middles]), np.concatenate([np.stack(part, -1) for part in parts])


def ellipsoids(
    mixture: Mixture,  # [N], D = 3
    deviations: float = DEVIATIONS,
    subdivisions: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Surfaces where the Mahalanobis distance to each component is ``deviations``.

    Vertices [N, V, 3], and the triangles [T, 3] that every one of them has; every component is drawn, also of weight 0.
    """
    sphere, triangles = icosphere(subdivisions)
    return _images_of(sphere, mixture, deviations), triangles


def ellipses(mixture: Mixture, deviations: float = DEVIATIONS, corners: int = 48) -> np.ndarray:  # [N], D = 2
    """Closed outlines [N, corners + 1, 2] where the Mahalanobis distance to each component is ``deviations``."""
    angles = np.linspace(0, 2 * np.pi, corners + 1)
    return _images_of(np.stack([np.cos(angles), np.sin(angles)], -1), mixture, deviations)


def _images_of(unit: np.ndarray, mixture: Mixture, deviations: float) -> np.ndarray:  # [V, D] -> [N, V, D]
    factors = torch.linalg.cholesky(mixture.covariances.detach().cpu().double()).numpy()  # [N, D, D]
    centres = mixture.positions.detach().cpu().double().numpy()
    return centres[:, None] + deviations * np.einsum("nij,vj->nvi", factors, unit)


def field(mixture: Mixture, box: Box, cells: int) -> np.ndarray:
    """Values of a mixture [N], D = 2, at the centres of a grid's cells, so many along the longer side: [rows, columns].

    The first row lies at the top, where y is smallest for an image.
    """
    left, right, top, bottom = box
    fine = cells / max(right - left, bottom - top)
    rows, columns = (max(1, round(side * fine)) for side in (bottom - top, right - left))
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).to(mixture.positions)
    return ops.evaluate(mixture.detach(), points).reshape(rows, columns).cpu().numpy()


def extent(
    points: np.ndarray | None,  # [M, D]
    *mixtures: Mixture,  # [N] each
    deviations: float = DEVIATIONS,
) -> tuple[np.ndarray, np.ndarray]:  # [D], [D]
    """Smallest and largest coordinates of the points and of the ellipsoids or ellipses of the mixtures."""
    covered = [] if points is None else [points]
    for mixture in map(visible, mixtures):
        half = deviations * mixture.covariances.diagonal(dim1=-2, dim2=-1).sqrt()
        covered += [(mixture.positions - half).numpy(), (mixture.positions + half).numpy()]
    return np.concatenate(covered).min(0), np.concatenate(covered).max(0)
