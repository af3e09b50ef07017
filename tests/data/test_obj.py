"""The .obj reader: nothing that is not understood is passed over, since later indices would mean other vertices."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data.meshes import parse_mesh
from gmcn.data.obj import has_faces, parse_obj
from gmcn.errors import InputError
from tests.data.files import CORNERS, QUADS, area, obj_box


def box_area(lines: list[str], between: str = "\n") -> float:
    return area(*parse_mesh((between.join(lines) + between).encode(), "box.obj"))


def test_indices_that_count_back_from_their_line():
    lines = []
    for number, quad in enumerate(QUADS):
        lines += [
            f"o part{number}",
            *("v {} {} {}".format(*CORNERS[index]) for index in quad),
            "f -4 -3 -2",
            "f -4 -2 -1",
        ]
    assert box_area(lines) == pytest.approx(22)


@pytest.mark.parametrize("spare", [[], ["v 0.5 0.5 0.5"]])
@pytest.mark.parametrize("line", [1, 8, 19])
@pytest.mark.parametrize(
    "change", [lambda text: text.replace(" ", "\t"), "  {}".format, "\t{}  ".format, "{} # why".format,
               "{} # C:\\".format, lambda text: text.replace(" ", "   "), lambda text: text.replace(" ", " \\\n ", 1)]
)  # fmt: skip
def test_any_blanks_in_any_line(change, line, spare):
    lines = obj_box() + spare
    lines[line] = change(lines[line])
    assert box_area(lines) == pytest.approx(22)


@pytest.mark.parametrize("between", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_ends_of_lines_and_byte_order_marks(between, mark):
    lines = obj_box()
    lines[0] = mark + lines[0]
    assert box_area(lines, between) == pytest.approx(22)


@pytest.mark.parametrize("vertex", ["v {} {} {} 1.0", "v {} {} {} 0.5 0.25 1", "v {} {} {} 1 0.5 0.25 1"])
@pytest.mark.parametrize(
    "face", ["f {0}/1 {1}/1 {2}/1", "f {0}//1 {1}//1 {2}//1", "f {0}/1/1 {1}/1/1 {2}/1/1", "fo {} {} {}"]
)
def test_colours_textures_and_normals(vertex, face):
    lines = [
        "mtllib gone.mtl",
        "vt 0 0",
        "vn 0 0 1",
        *obj_box(vertex, face),
        "usemtl red",
        "s off",
        "g",
        "l 1 2 3",
        "p 1",
    ]
    assert box_area(lines) == pytest.approx(22)
    assert box_area(["# by hand", "", *lines, "g second", "vp 0 0"]) == pytest.approx(22)


def test_faces_before_their_vertices():
    assert box_area(obj_box()[8:] + obj_box()[:8]) == pytest.approx(22)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v 1 2", "line 21: a vertex needs three numbers, not '1 2'"),
        ("v 0,5 1,5 2,5", "line 21: a vertex needs three numbers, not '0,5 1,5 2,5'"),
        ("f 1 2 x", "line 21: a face needs whole numbers, not '1 2 x'"),
        ("f 1 2 1.5", "line 21: a face needs whole numbers"),
        ("f 0 1 2", "line 21: a face counts its vertices from 1, or back from the last one above it, not '0 1 2'"),
        ("f 1 2 -9", "line 21: a face counts its vertices from 1"),
        ("f 1 2 9", "line 21: a face uses vertex 9, but there are 8"),
        ("q 1 2 3", "line 21: not understood; .*'q 1 2 3'"),
        ("vertex 1 2 3", "line 21: not understood"),
        ("surf 0 1 0 1 1 2 3", "line 21: free-form curves and surfaces are not read"),
        ("call other.obj", "line 21: not understood"),
    ],
)
def test_what_is_not_understood_is_said(line, message):
    lines = obj_box()
    with pytest.raises(InputError, match=rf"box\.obj, {message}"):
        box_area([*lines, line, "v 1 1 1"] if "9" not in line else [*lines, line])


def test_wide_text():
    with pytest.raises(InputError, match=r"box\.obj is text in UTF-16 or UTF-32; save it as UTF-8"):
        parse_mesh("\n".join(obj_box()).encode("utf-16"), "box.obj")


def test_points_without_faces():
    vertices, triangles = parse_obj("\n".join(obj_box()[:8]).encode(), "a.obj")
    assert (vertices.shape, triangles.shape) == ((8, 3), (0, 3))
    assert np.array_equal(vertices, CORNERS)
    assert not has_faces(b"v 0 0 0\nvn 0 0 1\n# f 1 2 3\ng f\n")
    assert all(map(has_faces, (b"f 1 2 3", b"v 0 0 0\r\t f\t1 2 3", b"v 0 0 0\nfo 1 2 3")))
    with pytest.raises(InputError, match=r"a\.obj holds no faces"):
        parse_mesh("\n".join(obj_box()[:8]).encode(), "a.obj")
