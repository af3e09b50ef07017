"""Triangles of polygons: all of the polygon and nothing else, for every first corner and in every plane."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data import polygons
from gmcn.data.meshes import parse_mesh
from gmcn.data.polygons import triangulate
from gmcn.errors import InputError
from tests.data.files import area


def circle(corners: int, radius: float = 1.0) -> np.ndarray:
    angles = np.arange(corners) / corners * 2 * np.pi
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def star(corners: int) -> np.ndarray:
    return circle(corners) * np.where(np.arange(corners) % 2, 1, 0.3)[:, None]


def spiral(corners: int) -> np.ndarray:
    angles = np.linspace(0, 6 * np.pi, corners // 2)
    arm = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.concatenate([arm * (angles + 2)[:, None], (arm * (angles + 1)[:, None])[::-1]])


def comb(teeth: int) -> np.ndarray:
    steps = np.arange(teeth)
    top = np.stack([np.stack([steps, np.ones(teeth)], -1), np.stack([steps + 0.5, np.full(teeth, 0.1)], -1)], 1)
    return np.concatenate([[[0, 0], [teeth, 0]], top.reshape(-1, 2)[::-1]])


SHAPES = {
    "pentagon": [(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)],
    "arrow": [(0, 0), (2, 1), (0, 2), (0.5, 1)],
    "on one line": [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (2, 1), (2, 2), (2, 3), (0, 3), (0, 1)],
    # A hole, reached by a way in and out, as programs without holes write it.
    "hole": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    "round hole": np.concatenate([circle(24), circle(24)[:1], np.roll(circle(24, 0.5)[::-1], 1, 0), [[0.5, 0]]]),
    "way out and back": [(0, 0), (2, 0), (2, 1), (5, 1), (2, 1), (2, 2), (1, 1), (0, 2)],
    "star": star(40),
    "spiral": spiral(120),
    "comb": comb(40),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_polygon_is_covered_and_nothing_else(name):
    """Its area says both: triangles that reach beside it or lie over each other have more."""
    flat = np.array(SHAPES[name], dtype=np.float64)
    x, y = flat.T
    wanted = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    rng = np.random.default_rng(0)
    count = len(flat)
    for shift in range(count):
        turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        vertices = np.pad(np.roll(flat, shift, 0), ((0, 0), (0, 1)))[:: 1 if shift % 2 else -1] @ turned + 5
        triangles = triangulate(vertices, np.array([count]), np.arange(count), "a.off")
        assert triangles.shape == (count - 2, 3)
        assert area(vertices, triangles) == pytest.approx(wanted)


def test_convex_polygons_and_triangles_are_fans_in_their_order():
    vertices = np.concatenate([np.pad(circle(9), ((0, 0), (0, 1))), [[0, 0, 1], [1, 0, 1], [4, 4, 2], [0, 1, 1]]])
    counts, corners = np.array([3, 9, 0, 2, 4]), [0, 1, 2, *range(9), 5, 6, 9, 10, 11, 12]
    triangles = triangulate(vertices, counts, np.array(corners), "a.off")
    fan = [[0, i, i + 1] for i in range(1, 8)]
    assert triangles.tolist() == [[0, 1, 2], *fan, [9, 10, 11], [9, 11, 12]]  # the last one is not plane


def test_polygons_without_area_are_harmless():
    vertices = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3.0]])
    assert len(triangulate(vertices, np.array([4, 4]), np.array([0, 2, 1, 3, 1, 1, 1, 1]), "a.off")) == 4


@pytest.mark.parametrize("corners", [[(0, 0), (1, 1), (1, 0), (0, 1)], [(0, 0), (2, 2), (2, 0), (0, 1)]])
def test_a_polygon_that_crosses_itself(corners):
    rows = "".join(f"{x} {y} 7\n" for x, y in corners)
    with pytest.raises(InputError, match=r"a\.off: a polygon of 4 corners \(face 1, counted from 0\) crosses itself"):
        parse_mesh(f"OFF\n4 2 0\n{rows}3 0 1 2\n4 0 1 2 3\n".encode(), "a.off")


def test_a_polygon_that_would_take_too_long(monkeypatch):
    monkeypatch.setattr(polygons, "_MOST_CORNERS", 30)
    vertices = np.pad(star(32), ((0, 0), (0, 1)))
    with pytest.raises(InputError, match=r"a polygon of 32 corners .* is not convex; triangulate the mesh"):
        triangulate(vertices, np.array([32]), np.arange(32), "a.off")


@pytest.mark.parametrize("scale", [1e-20, 1e18])
def test_the_unit_does_not_matter(scale):
    vertices = np.pad(np.array(SHAPES["pentagon"], dtype=np.float64), ((0, 0), (0, 1))) * scale
    assert area(vertices / scale, triangulate(vertices, np.array([5]), np.arange(5), "a")) == pytest.approx(10)


PENTAGON = b"0 0 0\n4 0 0\n4 4 0\n2 1 0\n0 4 0\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.off", b"OFF\n5 1 0\n" + PENTAGON + b"5 0 1 2 3 4\n"),
        ("a.obj", b"".join(b"v " + row + b"\n" for row in PENTAGON.splitlines()) + b"f 1 2 3 4 5\n"),
        (
            "a.ply",
            b"ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
            b"element face 1\nproperty list uchar int vertex_indices\nend_header\n" + PENTAGON + b"5 0 1 2 3 4\n",
        ),
    ],
)
def test_in_every_format_that_has_polygons(name, content):
    assert area(*parse_mesh(content, name)) == pytest.approx(10)
