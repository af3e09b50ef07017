"""Damaged files of every format: a result or one sentence, never another error and never half an object."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmcn.artifacts import load_tensors
from gmcn.data import primitives, sample
from gmcn.data.clouds import parse_cloud
from gmcn.data.meshes import parse_mesh, sample_mesh
from gmcn.data.samples import attempt
from gmcn.data.splats import PROPERTIES, parse_splats
from gmcn.errors import InputError
from tests.damage import EDITS, altered, fuzz, outcome
from tests.data.files import QUADS, TRIANGLES, npy, obj_box, ply, ply_mesh, stl_box, write_off

BOX = primitives.box([0, 0, 0], [3, 1, 1])
RNG = np.random.default_rng(0)


def exported(suffix: str, **options) -> bytes:
    import trimesh

    content = trimesh.Trimesh(*BOX, process=False).export(file_type=suffix, **options)
    return content.encode() if isinstance(content, str) else content


def saved(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def archived(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez(target, points=array)
    return target.getvalue()


def splats(order: str) -> bytes:
    return ply({name: RNG.normal(size=5) for name in PROPERTIES}, order)


def points_on(content: bytes, source: str) -> np.ndarray:
    return sample_mesh(*parse_mesh(content, source), 8, seed=1, source=source)


ORDERS = ("ascii", "binary_little_endian")
FILES = [
    (points_on, "a.off", exported("off")),
    (points_on, "a.obj", exported("obj")),
    (points_on, "a.stl", exported("stl")),
    (points_on, "a.stl", exported("stl_ascii")),
    (points_on, "a.ply", exported("ply")),
    (points_on, "a.ply", exported("ply", encoding="ascii")),
    *((points_on, "a.ply", ply_mesh([*QUADS[:3], *TRIANGLES[6:]], order, after=[("B", "red")])) for order in ORDERS),
    (points_on, "a.obj", "\n".join(obj_box(face="f {}/1 -{}/1 {}/1")).encode() + b"\nf 1 2 4 3 -1\n"),
    (points_on, "a.off", b"OFF\n6 2 0\n0 0 0\n4 0 0\n4 4 0\n2 1 0\n0 4 0\n9 9 9\n5 0 1 2 3 4\n4 0 1 5 2\n"),
    (points_on, "a.stl", stl_box(b"solid", b"\r\n")),
    (parse_cloud, "a.npy", saved(RNG.normal(size=(9, 3)))),
    (parse_cloud, "a.npy", saved(RNG.normal(size=(3, 9)).astype(np.float32).T)),
    (parse_cloud, "a.xyz", b"# x y z\n0 0 0\n1e-3, 2.5, -1\n"),
    (parse_cloud, "a.xyz", b"X;Y;Z;i\n0;0.5;0;1\n1e-3; 2.5; -1;7\n"),
    (parse_cloud, "a.txt", b"3\n0 0 0\n1e-3 2.5 -1\nnan 1 1\n"),
    (parse_cloud, "a.npz", archived(RNG.normal(size=(9, 3)))),
    (parse_cloud, "a.obj", b"v 0 0 0 1 1 1\nv 1 1 1\n"),
    *((parse_cloud, "a.ply", ply({axis: RNG.normal(size=5) for axis in "xyz"}, order)) for order in ORDERS),
    *((parse_splats, "a.ply", splats(order)) for order in ORDERS),
]


@fuzz(1000)
@given(st.sampled_from(FILES), EDITS)
def test_altered_bytes_give_a_result_or_a_sentence(file, edits):
    parse, name, content = file
    outcome(parse, altered(content, edits), name)


@pytest.mark.parametrize(
    ("parse", "name", "content", "message"),
    [
        (parse_cloud, "a.npy", b"PK\x03\x04 and nothing more", "no readable .npy .*magic string"),
        (parse_cloud, "a.npy", npy("(1000000000000, 3)") + bytes(9), r"npy ends before the array \(1000000000000, 3\)"),
        (parse_cloud, "a.npy", npy("(-5, 3)") + bytes(100), "a.npy is no readable .npy"),
        (parse_cloud, "a.npy", npy("(5, 3").replace(b"}", b" "), "a.npy is no readable .npy .its header is damaged"),
        (parse_cloud, "a.npy", npy(f"({'9' * 30}, 3)"), "a.npy is no readable .npy"),
        (parse_mesh, "a.off", b"OFF\n8 19999999999992 0\n", "cannot stand in 2 lines"),
        (parse_mesh, "a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n3 0 1 2\n", "line 7: the file goes on after"),
        (parse_mesh, "a.obj", f"v 0 0 0\nf 1 {'9' * 25} 1\n".encode(), "line 2: a face counts its vertices from 1"),
        (parse_cloud, "a.npz", archived(np.ones((9, 3)))[1:], r"a\.npz is no readable \.npz"),
        (parse_mesh, "a.ply", ply_mesh(QUADS).replace(b"face 6", b"face 999999999"), "after 6 of 999,999,999 faces"),
        (parse_mesh, "a.ply", ply_mesh(QUADS, extra=f"element e {10**14}\nproperty list uchar int a\n"), "ends after"),
        (parse_mesh, "a.ply", ply_mesh(QUADS, "ascii", extra="element e 99999999999999\n"), "ends after 0 of 8 vert"),
        (parse_mesh, "a.stl", stl_box()[:80] + b"\xff" * 4 + stl_box()[84:], "fewer than 4,294,967,295 facets"),
        (parse_mesh, "a.off", b"OFF\n" + b"9" * 5000 + b" 1 0\n", "expected the counts"),
        *(
            (parse_cloud, "a.ply", ply({axis: np.ones(3) for axis in "xyz"}, before=f"element foo {rows}\n"), "-1")
            for rows in (-1, -100)
        ),
        (parse_mesh, "a.off", b"OFF\n3 1 0\n0 0 0\n1e300 0 0\n0 1 0\n3 0 1 2\n", "vertex 1 is not finite or far too"),
    ],
)  # fmt: skip
def test_headers_that_lie(parse, name, content, message):
    with pytest.raises(InputError, match=message):
        parse(content, name)


def test_an_error_that_no_reader_foresaw_is_one_bad_object():
    error = attempt(lambda item: 1 / item, 0)
    assert isinstance(error, InputError)
    assert str(error) == "it cannot be read (ZeroDivisionError: division by zero)"


def test_ascii_meshes_that_are_cut_have_no_fewer_faces():
    content = exported("ply", encoding="ascii")
    end = content.index(b"end_header") + 11
    for size in range(end, len(content) - 2, 5):
        with pytest.raises(InputError, match=r"a\.ply(: | ends after \d+ of \d+ (vertices|faces); is it truncated)"):
            parse_mesh(content[:size], "a.ply")
    assert len(parse_mesh(content.rstrip(), "a.ply")[1]) == len(BOX[1])


def test_blank_lines_hide_no_vertices():
    content = ply({axis: np.arange(3.0) for axis in "xyz"}, "ascii")
    blank = content.replace(b"end_header\n", b"end_header\n\n").replace(b"1.0 1.0 1.0\n", b"1.0 1.0 1.0\r\n \r\n")
    assert np.array_equal(parse_cloud(blank, "a.ply"), np.arange(3)[:, None] * [1, 1, 1])
    with pytest.raises(InputError):
        parse_cloud(content.replace(b"1.0 1.0 1.0", b"#.0 1.0 1.0"), "a.ply")


OFFSET = np.array([500_000, 5_400_000, 300])


def test_geographic_coordinates_keep_their_points(tmp_path):
    """A metre of something in UTM: in float32 its points would lie half a metre apart."""
    cloud = np.random.default_rng(1).random((200, 3)).round(4)
    text = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in cloud + OFFSET)
    header = "ply\nformat ascii 1.0\nelement vertex 200\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    for kind, name, content in (
        ("clouds", "a.xyz", text.encode()),
        ("clouds", "a.npy", saved(cloud + OFFSET)),
        ("clouds", "a.ply", f"{header}end_header\n{text}\n".encode()),
        ("meshes", "a.off", None),
    ):
        folder = tmp_path / name / "cup" / "train"
        folder.mkdir(parents=True)
        if content is None:
            write_off(folder / name, BOX[0] + OFFSET, BOX[1])
        else:
            (folder / name).write_bytes(content)
        own = {"kind": kind, "path": str(tmp_path / name), "points": 200, "normalize": True, "parts": ["train"]}
        sample("a", settings=own, downloads=None, output=tmp_path / "a.safetensors")
        points = load_tensors(tmp_path / "a.safetensors")[0]["points"][0].double().numpy()
        assert len(np.unique(points[:, 1].round(5))) > 100
        if kind == "clouds":
            ratio = np.ptp(points, axis=0) / np.ptp(cloud, axis=0)
            np.testing.assert_allclose((points - points[0]) / ratio, cloud - cloud[0], atol=1e-6)


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
def test_a_value_that_is_not_finite_is_found_whichever_points_are_drawn(tmp_path, value):
    folder = tmp_path / "cup" / "train"
    folder.mkdir(parents=True)
    (folder / "a.xyz").write_text("# x y z\n" + "1 2 3\n" * 300 + f"{value} 1 2\n")
    own = {"kind": "clouds", "path": str(tmp_path), "points": 8, "parts": ["train"]}
    with pytest.raises(InputError, match=r"a\.xyz: a coordinate of point 300 is not finite or far too large"):
        sample("a", settings=own, downloads=None, output=tmp_path / "a.safetensors")


def test_an_empty_cloud_is_not_advised_to_repeat_its_points(tmp_path, recwarn):
    folder = tmp_path / "cup" / "train"
    folder.mkdir(parents=True)
    for content in ("", "# nothing\n"):
        (folder / "a.txt").write_text(content)
        own = {"kind": "clouds", "path": str(tmp_path), "points": 8, "parts": ["train"], "repeat_points": True}
        with pytest.raises(InputError, match=r"'a' \(.*a\.txt has no points; remove it\)"):
            sample("a", settings=own, downloads=None, output=tmp_path / "a.safetensors")
    assert not [warning for warning in recwarn if warning.category is UserWarning]
