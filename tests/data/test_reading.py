"""The one reader of a path: a mesh where there are faces, else a cloud."""

from __future__ import annotations

import io

import numpy as np
import pytest

from gmcn.data.containers import content_of, find_members
from gmcn.data.meshes import FORMATS
from gmcn.data.reading import SUFFIXES, parse_geometry
from gmcn.errors import InputError
from tests.data.files import CORNERS, QUADS, TRIANGLES, area, obj_box, ply, ply_mesh, stl_box


def saved(**arrays: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


OFF = "".join(
    ["OFF\n8 6 0\n", *("{} {} {}\n".format(*c) for c in CORNERS), *("4 {} {} {} {}\n".format(*q) for q in QUADS)]
)
MESHES = {
    "a.OFF": OFF.encode(),
    "b.off": b"\xef\xbb\xbf" + OFF.replace("\n", "\r\n").encode(),
    "a.obj": "\n".join(obj_box()).encode(),
    "a.ply": ply_mesh([*QUADS[:3], *TRIANGLES[6:]]),
    "a.stl": stl_box(tail=b"\r\n"),
}
CLOUDS = {
    "a.ply": ply({axis: np.array(CORNERS)[:, index] for index, axis in enumerate("xyz")}),
    "b.ply": ply_mesh([]),
    "a.obj": "\n".join(obj_box()[:8]).encode(),
    "a.xyz": "\n".join("{} {} {}".format(*corner) for corner in CORNERS).encode(),
    "a.TXT": "\n".join("{}; {}; {}".format(*corner) for corner in CORNERS).encode(),
    "a.npz": saved(points=np.array(CORNERS)),
}


@pytest.mark.parametrize("name", MESHES)
def test_meshes(name):
    vertices, triangles = parse_geometry(MESHES[name], name)
    assert area(vertices, triangles) == pytest.approx(22)


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds(name):
    points, triangles = parse_geometry(CLOUDS[name], name)
    assert triangles is None
    np.testing.assert_allclose(points, CORNERS)


def test_points_that_are_no_numbers():
    with pytest.raises(
        InputError, match=r"a\.xyz: a coordinate of point 1 .*; `drop_not_finite: true` .*leaves such points"
    ):
        parse_geometry(b"0 0 0\nnan 0 0\n", "a.xyz")
    assert len(parse_geometry(b"0 0 0\nnan 0 0\n", "a.xyz", drop_not_finite=True)[0]) == 1


def test_what_is_there_and_what_can_be_read(tmp_path):
    assert set(FORMATS) < set(SUFFIXES)
    with pytest.raises(InputError, match=r"b\.off cannot be read \(No such file"):
        content_of(tmp_path / "b.off")
    (tmp_path / "folder.off").mkdir()
    with pytest.raises(InputError, match=r"folder\.off cannot be read \(Is a directory\)"):
        content_of(tmp_path / "folder.off")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.las", r"write it as \.ply or \.xyz, with CloudCompare"),
        ("a.PCD", r"write it as \.ply or \.xyz, with CloudCompare"),
        ("a.glb", r"write it as \.obj or \.ply, with Blender"),
        ("a.spz", r"write it as \.ply that is not compressed"),
        ("a.md", r"\.xyz$"),
    ],
)
def test_formats_that_are_not_read(tmp_path, name, advice):
    with pytest.raises(InputError, match=advice):
        parse_geometry(b"", name)
    folder = tmp_path / "cup" / "train"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(
        InputError, match="holds no <class>.*name them so" + (f"; {advice}" if advice.startswith("write") else "$")
    ):
        find_members(tmp_path, FORMATS)
