"""Triangle meshes of simple shapes: vertices [V, 3] float64 and triangles [T, 3] int64, z upwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]

_SEGMENTS = 48


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All the meshes as one, their vertices kept apart."""
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    triangles = [mesh[1] + offset for mesh, offset in zip(meshes, offsets[:-1], strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(triangles)


def quads(corners: np.ndarray) -> Mesh:
    """Two triangles for each of the quadrilaterals [Q, 4, 3]."""
    first = 4 * np.arange(len(corners))[:, None, None]
    return corners.reshape(-1, 3), (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)


def box(low: Sequence[float], high: Sequence[float]) -> Mesh:
    """A closed box along the axes between two corners."""
    bits = np.array([[(i >> axis) & 1 for axis in range(3)] for i in range(8)])
    vertices = np.where(bits == 1, np.asarray(high, dtype=float), np.asarray(low, dtype=float))
    faces = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
    return vertices, faces[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def pyramid(width: float, depth: float, height: float) -> Mesh:
    """A closed pyramid on a rectangle around the origin."""
    x, y = width / 2, depth / 2
    vertices = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0], [0, 0, height]])
    return vertices, np.array([[0, 2, 1], [0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def revolve(radii: Sequence[float], heights: Sequence[float]) -> Mesh:
    """The surface of a polyline (radius, height) turned about the z axis; closed where it ends on the axis."""
    angle = 2 * np.pi * np.arange(_SEGMENTS) / _SEGMENTS
    radii, heights = np.asarray(radii, dtype=float), np.asarray(heights, dtype=float)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    upright = np.broadcast_to(heights[:, None, None], (len(radii), _SEGMENTS, 1))
    return _grid(np.concatenate([radii[:, None, None] * circle, upright], axis=-1), wrap=False)


def torus(radius: float, thickness: float) -> Mesh:
    """A closed ring around the z axis: radius of the ring's middle, radius of its cross-section."""
    angle = 2 * np.pi * np.arange(_SEGMENTS // 2) / (_SEGMENTS // 2)
    rings, _ = revolve(radius + thickness * np.cos(angle), thickness * np.sin(angle))
    return _grid(rings.reshape(-1, _SEGMENTS, 3), wrap=True)


def staircase(steps: int, tread: float, rise: float, width: float) -> Mesh:
    """A closed flight of stairs: the profile in x and z, extruded along y."""
    boxes = []
    for i in range(steps):
        x, z = tread * np.array([i, i + 1]), rise * np.array([i, i + 1])
        column = z[1]
        boxes += [
            [(x[0], 0, z[0]), (x[0], width, z[0]), (x[0], width, z[1]), (x[0], 0, z[1])],
            [(x[0], 0, z[1]), (x[0], width, z[1]), (x[1], width, z[1]), (x[1], 0, z[1])],
            *([(x[0], y, 0), (x[1], y, 0), (x[1], y, column), (x[0], y, column)] for y in (0, width)),
        ]
    length, height = steps * tread, steps * rise
    boxes.append([(0, 0, 0), (length, 0, 0), (length, width, 0), (0, width, 0)])
    boxes.append([(length, 0, 0), (length, width, 0), (length, width, height), (length, 0, height)])
    return quads(np.array(boxes, dtype=float))


def _grid(rings: np.ndarray, wrap: bool) -> Mesh:
    """Triangles between neighbouring rings [R, C, 3], all closed; with ``wrap`` also from last to first."""
    rows, columns = rings.shape[:2]
    row, column = np.meshgrid(np.arange(rows if wrap else rows - 1), np.arange(columns), indexing="ij")
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = ((row + 1) % rows) * columns + column, ((row + 1) % rows) * columns + (column + 1) % columns
    triangles = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=2)
    return rings.reshape(-1, 3), triangles.reshape(-1, 3)
