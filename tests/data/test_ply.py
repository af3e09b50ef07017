"""Meshes in .ply: faces of any lengths, anywhere in the file."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data.clouds import parse_cloud
from gmcn.data.meshes import parse_mesh
from gmcn.data.ply import count_vertices, has_faces
from gmcn.errors import InputError
from tests.data.files import CORNERS, QUADS, TRIANGLES, area, ply_mesh

ORDERS = ("ascii", "binary_little_endian", "binary_big_endian")
MIXED = [*QUADS[:3], *TRIANGLES[6:]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "faces", [TRIANGLES, QUADS, MIXED, MIXED[::-1]], ids=["triangles", "quads", "mixed", "reversed"]
)
@pytest.mark.parametrize(
    ("before", "after"),
    [((), ()), ((("B", "flags"),), ()), ((), (("f", "quality"), ("B", "red"))), ((("h", "a"),), (("f", "b"),))],
)
def test_polygons(order, faces, before, after):
    content = ply_mesh(faces, order, before=before, after=after)
    vertices, triangles = parse_mesh(content, "box.ply")
    assert np.array_equal(vertices, CORNERS)
    assert len(triangles) == 12
    assert area(vertices, triangles) == pytest.approx(22)


STRIPS = "element strip 2\nproperty list uchar short corners\nproperty float width\n"


@pytest.mark.parametrize(
    ("order", "data"),
    [
        ("ascii", b"3 1 2 3 0.5\n1 1 0.5\n"),
        ("binary_little_endian", b"\3\1\0\2\0\3\0abcd\1\1\0abcd"),
        ("binary_big_endian", b"\1\0\1abcd\1\0\1abcd"),
    ],
)
def test_lists_before_the_vertices(order, data):
    content = ply_mesh(MIXED, order, extra=STRIPS, data=data)
    assert area(*parse_mesh(content, "box.ply")) == pytest.approx(22)
    assert np.array_equal(parse_cloud(content, "box.ply"), CORNERS)
    assert count_vertices(content, len(content)) == 8


@pytest.mark.parametrize("order", ORDERS)
def test_what_follows_the_faces_is_not_looked_at(order):
    content = ply_mesh(MIXED, order).replace(b"end_header", b"element edge 1\nproperty int vertex1\nend_header")
    assert area(*parse_mesh(content + b"7\n\0\0", "box.ply")) == pytest.approx(22)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("faces", [TRIANGLES, MIXED], ids=["triangles", "mixed"])
def test_cut_files_have_no_fewer_faces(order, faces):
    content = ply_mesh(faces, order)
    start = content.index(b"end_header") + 11
    for size in range(start, len(content) - 1, 3):
        with pytest.raises(
            InputError, match=r"box\.ply(: vertex| ends after \d+ of \d+ (vertices|faces); is it trunc|: .*)"
        ):
            parse_mesh(content[:size], "box.ply")
    assert len(parse_mesh(content.rstrip(b"\n") if order == "ascii" else content, "box.ply")[1]) == 12


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"\r"])
def test_ends_of_lines_and_byte_order_marks(mark, between):
    content = mark + ply_mesh(MIXED, "ascii").replace(b"\n", between)
    assert area(*parse_mesh(content, "box.ply")) == pytest.approx(22)
    assert has_faces(content)


def test_textures_are_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = ply_mesh(MIXED).replace(b"made by a test", b"TextureFile wood.png")
    (tmp_path / "wood.png").mkdir()  # reading it would be an error
    assert area(*parse_mesh(content, "box.ply")) == pytest.approx(22)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda order: ply_mesh([*TRIANGLES[:-1], (0, 1, 8)], order),
            "face 11, counted from 0, uses a vertex that is not",
        ),
        (lambda order: ply_mesh([(0, 1, -1), *MIXED], order), "face 0, counted from 0, uses a vertex that is not"),
        (lambda order: ply_mesh([], order), "holds no faces; is it a cloud"),
        (
            lambda order: ply_mesh(MIXED, order).replace(b"element face", b"element tristrips"),
            "has no element 'face', but",
        ),
        (lambda order: ply_mesh(MIXED, order).replace(b"list uchar int", b"list uchar float"), "as float"),
        (lambda order: ply_mesh(MIXED, order).replace(b"list uchar int", b"list float int"), "is counted in float"),
        (
            lambda order: ply_mesh(TRIANGLES, order).replace(b"list uchar int vertex_indices", b"int a"),
            "no list vertex_ind",
        ),
    ],
)
def test_what_is_no_mesh(order, change, message):
    with pytest.raises(InputError, match=rf"box\.ply.*{message}"):
        parse_mesh(change(order), "box.ply")


def test_a_list_that_counts_below_zero():
    content = ply_mesh(MIXED).replace(b"list uchar int", b"list char int")
    start = content.index(b"end_header") + 11 + 8 * 24
    with pytest.raises(InputError, match=r"box\.ply: 'vertex_indices' of face 0 has -1 values"):
        parse_mesh(content[:start] + b"\xff" + content[start + 1 :], "box.ply")


def test_lines_that_are_not_what_the_header_promises():
    content = ply_mesh(MIXED, "ascii")
    for line in (b"3 0 1\n", b"3 0 1 2 255 0 0\n", b"x 0 1 2\n", b"3 0 1 2.5\n"):
        broken = content.replace(b"4 0 1 3 2\n", line)
        with pytest.raises(InputError, match=r"box\.ply: face 0 is not what the header promises"):
            parse_mesh(broken, "box.ply")
