"""Polygons become triangles that cover them and nothing else."""

from __future__ import annotations

import numpy as np

from gmcn.data.samples import check_finite
from gmcn.errors import InputError

# An area beside the polygon that is no error but the rounding of its corners, as a part of its length squared.
_ROUNDING = 1e-7
# The time for a polygon that is not convex grows with the square of its corners.
_MOST_CORNERS = 2000


def triangulate(
    vertices: np.ndarray,  # [V, 3] float64
    counts: np.ndarray,  # [F] corners of each face
    corners: np.ndarray,  # [sum of counts] int64, the faces' vertices one after the other
    source: str,
) -> np.ndarray:  # [T, 3] int64
    """The triangles of all faces, in their order: a face of n corners has n - 2, one of less than three has none.

    Each is a fan around its first corner, unless a triangle of it lies beside the polygon (seen along its normal, so
    that it need not be plane); then ears are cut off until nothing is left.

    Raises:
        InputError: a corner that is no vertex; a polygon that crosses itself; ``source`` names the file.
    """
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(vertices):
        bad = int(((corners < 0) | (corners >= len(vertices))).argmax())
        face = int(np.searchsorted(np.cumsum(counts), bad, side="right"))
        raise InputError(
            f"{source}: face {face}, counted from 0, uses a vertex that is not there (there are {len(vertices)})"
        )
    starts = np.cumsum(counts) - counts
    fans = np.maximum(counts - 2, 0)
    face = np.repeat(np.arange(len(counts)), fans)  # of each triangle
    second = starts[face] + 1 + np.arange(len(face)) - np.repeat(np.cumsum(fans) - fans, fans)
    triangles = np.stack([corners[starts[face]], corners[second], corners[second + 1]], axis=-1)
    large = fans[face] > 1
    if large.any():
        check_finite(vertices, source, "vertex")
        _mend(vertices, triangles, large, face, source)
    return triangles


def _mend(vertices: np.ndarray, triangles: np.ndarray, large: np.ndarray, face: np.ndarray, source: str) -> None:
    """Replace, in place, the fans that go beside their polygon; ``large`` [T] are the triangles of polygons."""
    first = np.flatnonzero(large & np.diff(face, prepend=-1).astype(bool))  # triangle of each polygon
    of = np.cumsum(np.diff(face[large], prepend=-1).astype(bool)) - 1  # polygon of each of its triangles
    starts = np.searchsorted(of, np.arange(len(first)))
    corner = vertices[triangles[large]]  # [., 3, 3]
    sides = corner[:, 1:] - corner[:, :1]
    area = np.cross(sides[:, 0], sides[:, 1])
    normal = np.add.reduceat(area, starts)  # twice the polygon's area long, whatever its shape
    length = np.linalg.norm(normal, axis=-1)
    unit = normal / np.where(length > 0, length, 1)[:, None]
    beside = -np.add.reduceat(np.minimum((area * unit[of]).sum(-1), 0), starts)
    total = np.add.reduceat(np.linalg.norm(area, axis=-1), starts)
    nothing = _ROUNDING * np.maximum.reduceat((sides**2).sum(-1).max(-1), starts)
    # What crosses itself so that as much lies on one side as on the other has no normal.
    for polygon in np.flatnonzero((beside > nothing) | ((length <= nothing) & (total > 2 * nothing))):
        size = np.count_nonzero(of == polygon)
        rows = slice(first[polygon], first[polygon] + size)
        ring = np.concatenate([triangles[first[polygon], :2], triangles[rows, 2]])
        where = f"{source}: a polygon of {len(ring)} corners (face {face[first[polygon]]}, counted from 0)"
        if len(ring) > _MOST_CORNERS:
            raise InputError(f"{where} is not convex; triangulate the mesh in the program that it comes from")
        cut = None
        if length[polygon] > nothing[polygon]:
            cut = _cut_ears(_flat(vertices[ring], unit[polygon]), nothing[polygon])
        if cut is None:
            raise InputError(f"{where} crosses itself; repair it in the program that it comes from")
        triangles[rows] = ring[cut]


def _flat(points: np.ndarray, normal: np.ndarray) -> np.ndarray:  # [n, 3], [3] -> [n, 2]
    """The points seen along the axis nearest to the normal, so that they turn to the left around it."""
    axis = int(np.abs(normal).argmax())
    flat = points[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return flat if normal[axis] >= 0 else flat[:, ::-1]


def _cut_ears(points: np.ndarray, nothing: float) -> np.ndarray | None:  # [n, 2] -> [n - 2, 3]
    """Triangles of a polygon that turns to the left, or None where it crosses itself.

    All turn to the left too, which is the proof: their edges add up to the polygon's, so that they lie over each
    point as often as the polygon winds around it, once inside and never outside.
    """
    ring, triangles = np.arange(len(points)), []
    while len(ring) > 3:
        ear = _ear(points[ring], nothing)
        if ear is None:
            break
        triangles.append(ring[[ear - 1, ear, (ear + 1) % len(ring)]])
        # The search goes on behind the ear, or all ears would come to lie around one corner.
        ring = np.roll(np.delete(ring, ear), -ear)
    rest = [ring[[0, i, i + 1]] for i in range(1, len(ring) - 1)]
    if sum(max(0.0, -_turn(*points[triangle])) for triangle in rest) > nothing:
        return None
    return np.array(triangles + rest)


def _ear(ring: np.ndarray, nothing: float) -> int | None:  # [n, 2]
    """A corner between whose neighbours a line cuts off a triangle with no other corner in it."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    turns = _turn(before.T, ring.T, after.T)
    flattest = int(np.abs(turns).argmin())
    slack = 1e-3 * nothing
    if abs(turns[flattest]) <= slack:  # on the line between its neighbours, or a way out and back
        return flattest
    inward = ring[turns < 0]
    for corner in np.flatnonzero(turns > 0):
        triangle = np.stack([before[corner], ring[corner], after[corner]])
        inside = np.ones(len(inward), dtype=bool)
        for start, end in zip(triangle, np.roll(triangle, -1, axis=0), strict=True):
            inside &= (_turn(start, end, inward.T) >= -slack) & (inward != start).any(-1)
        if not inside.any():
            return int(corner)
    return None


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray | float:  # x and y first
    """Twice the area of the triangle, negative where it turns to the right."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
