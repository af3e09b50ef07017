"""The .stl reader: binary as its header promises, ASCII to its last line."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data.meshes import parse_mesh
from gmcn.errors import InputError
from tests.data.files import area, stl_box, stl_text


@pytest.mark.parametrize("header", [b"made by a test", b"solid box", b"\0" * 80, b"solid\nfacet normal 0 0 1\n"])
@pytest.mark.parametrize("tail", [b"", b"\r\n", b"\0" * 49])
def test_binary(header, tail, caplog):
    vertices, triangles = parse_mesh(stl_box(header, tail), "box.stl")
    assert (vertices.dtype, len(triangles)) == (np.float64, 12)
    assert area(vertices, triangles) == pytest.approx(22)
    assert not caplog.records


def test_more_behind_the_last_facet_is_said(caplog):
    assert area(*parse_mesh(stl_box(tail=stl_box()), "box.stl")) == pytest.approx(22)
    assert "box.stl: 684 bytes behind the last of its 12 facets are not read" in caplog.text


def test_binary_that_is_cut():
    for size in (10, 84, 133, 683):
        with pytest.raises(InputError, match=r"box\.stl is no \.stl, or it is truncated"):
            parse_mesh(stl_box()[:size], "box.stl")


@pytest.mark.parametrize(
    "change",
    [
        str,
        str.upper,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: "\n " + text.replace(" ", "\t") + "\n\n",
        lambda text: text.replace("box", ""),
        lambda text: text.replace("box", "of a vertex 1 2 3, endsolid"),
        lambda text: text.replace("vertex 0.0", "vertex -0.0e0"),
    ],
)
def test_ascii(change):
    assert area(*parse_mesh(change(stl_text()).encode(), "box.stl")) == pytest.approx(22)


def test_several_solids_are_one_mesh():
    assert area(*parse_mesh((stl_text("a") + stl_text("b")).encode(), "box.stl")) == pytest.approx(44)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("endsolid")], "line 85: the file ends before 'endsolid'; is it truncated"),
        (lambda text: text + text[: text.index("  endloop")], "the file ends before 'endsolid'"),
        (lambda text: text.replace("vertex 1.0 2.0", "vertex 1,0 2,0"), "a vertex needs three numbers, not '1,0 2,0"),
        (lambda text: text.replace("  endloop", "    vertex 0 0 0\n  endloop", 1), "line 7: expected 'endloop', found"),
        (lambda text: text.replace("endfacet\n", "color 1 0 0\nendfacet\n", 1), "line 8: expected 'endfacet', found"),
        (lambda text: text.replace("  outer loop\n", "", 1), "line 3: expected 'outer loop', found 'vertex 0"),
    ],
)
def test_ascii_that_is_not_understood(change, message):
    with pytest.raises(InputError, match=rf"box\.stl, .*{message}"):
        parse_mesh(change(stl_text()).encode(), "box.stl")


def test_no_facets():
    for content in (b"solid a\nendsolid a\n", bytes(84)):
        with pytest.raises(InputError, match=r"box\.stl holds no faces"):
            parse_mesh(content, "box.stl")
