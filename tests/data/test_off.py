"""The .off reader: what published files look like, and errors with file and line."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data import off
from gmcn.data.off import parse_off
from gmcn.errors import InputError
from tests.data.files import write_off

SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def parse(text: str):
    return parse_off(text.encode(), "square.off")


@pytest.mark.parametrize(
    "header",
    [
        "OFF\n4 1 0\n",
        "OFF4 1 0\n",
        "OFF 4 1 0\n",
        "# a comment\n\nOFF\n# another\n4 1 0 # counts\n",
        "OFF\r\n4 1 0\r\n",
        "\ufeffOFF\n4 1 0\n",
        "\ufeff# a comment\nOFF\n4 1 0\n",
    ],
)
def test_headers(header):
    vertices, triangles = parse(f"{header}{SQUARE}4 0 1 2 3\n")
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_polygons_become_fans_and_degenerate_faces_vanish():
    _, triangles = parse(f"OFF\n5 4 0\n{SQUARE}0.5 2 0\n5 0 1 2 4 3\n3 0 1 2\n2 0 1\n1 0\n")
    assert triangles.tolist() == [[0, 1, 2], [0, 2, 4], [0, 4, 3], [0, 1, 2]]


def test_colours_are_skipped():
    vertices, triangles = parse("COFF\n3 1 0\n0 0 0 255 0 0\n1 0 0 0 255 0\n0 1e0 0 1 1 1\n3 0 1 2 0.5 0.5 0.5\n")
    assert vertices[2].tolist() == [0, 1, 0]
    assert triangles.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 0: the file ends before the word OFF"),
        ("ply\n", "line 1: expected the word OFF, found 'ply'"),
        ("4OFF\n1 0 0\n0 0 0 0\n", "line 1: expected the word OFF, found '4OFF'"),
        ("OFF\nfour one\n", "line 2: expected the counts of vertices and faces, found 'four one'"),
        ("OFF\n4\n", "line 2: expected the counts"),
        ("OFF\n99999999999 1 0\n", "line 2: 99999999999 vertices and 1 faces cannot stand in 2 lines"),
        ("OFF\n-1 1 0\n", "line 2: -1 vertices"),
        (f"OFF\n4 1 0\n{SQUARE}", "line 6: .*"),
        ("OFF\n3 1 0\n0 0 0\n1 0\n0 1 0\n3 0 1 2\n", "line 4: a vertex needs three numbers, not '1 0'"),
        ("OFF\n3 1 0\n0 0 0\n1\n0 1 0\n3 0 1 2\n", "line 4: a vertex needs three numbers, not '1'"),
        ("OFF\n3 1 0\n0 0 0\n1 x 0\n0 1 0\n3 0 1 2\n", "line 4: a vertex needs three numbers, not '1 x 0'"),
        ("OFF\n3 1 0\n0 0 0\n1 nan 0\n0 1 0\n3 0 1 2\n", "line 4: a coordinate is not finite"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", r"line 6: a face uses a vertex that is not there"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n", r"line 6: a face uses a vertex that is not there"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n", "line 6: a face of 3 corners has 2 indices"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2.5\n", "line 6: a face needs whole numbers"),
        ("OFF\n3 1 0\n3 0 1 2\n0 0 0\n0 .5 0\n.5 0 0\n", "line 6: a face needs whole"),  # the lists are exchanged
        ("OFF\n3 1 0\n0 0 0\n1 0\n0 0 1 0\n3 0 1 2\n", "line 4: a vertex needs three numbers"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 1.5\n", "line 6: a face needs whole numbers"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 1.0\n", "line 6: a face needs whole numbers"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n-1 0\n", "line 6: a face of -1 corners"),
        (f"OFF\n4 1 0\n{SQUARE}3 0 1 2\n3 0 2 3\n", "line 8: the file goes on after the last of the 1 faces"),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3\n\n3 0 2 3\n", "line 9: the file goes on after the last of the 1 faces"),
        ("OFF\n3 1 0\n0 0 0\n1,0 0 0\n0 1 0\n3 0 1 2\n", "line 4: a vertex needs three numbers, not '1,0 0 0'"),
        ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "line 6: the file ends before face 1 of 2; is it truncated"),
    ],
)
def test_malformed(text, message):
    with pytest.raises(InputError, match=f"square.off, {message}"):
        parse(text)


def test_a_file_read_at_once_is_the_one_read_line_by_line():
    rng = np.random.default_rng(0)
    vertices = "".join(" ".join(map(repr, row)) + "\r\n" for row in (rng.normal(size=(200, 3)) * 1e-3).tolist())
    faces = "".join(f"3 {a} {b} {c}\n" for a, b, c in rng.integers(200, size=(300, 3)).tolist())
    text = f"OFF\n200 300 0\n{vertices}{faces}\n"
    at_once = off._parse_plain(text.encode())
    assert at_once is not None
    by_line = parse(text.replace("200 300 0", "200 300 0 # counts"))
    for one, other in zip(at_once, by_line, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_round_trip(tmp_path):
    vertices = np.random.default_rng(0).normal(size=(5, 3)) * 1e3
    triangles = np.array([[0, 1, 2], [2, 3, 4]])
    write_off(tmp_path / "a.off", vertices, triangles)
    again = parse_off((tmp_path / "a.off").read_bytes(), "a.off")
    assert np.array_equal(again[0], vertices)
    assert np.array_equal(again[1], triangles)
