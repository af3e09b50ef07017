"""`gmcn show` reads a file as `gmcn predict` and `gmcn sample` do, opens no other, and draws of it what can be seen."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from gmcn import cli
from gmcn.artifacts import save_tensors
from gmcn.data.meshes import parse_mesh
from gmcn.errors import InputError
from gmcn.pictures import clouds, interactive, rendering, shapes, show, thinning
from gmcn.pictures.drawing import icosphere
from tests.data.files import ply
from tests.data.test_splats import splats
from tests.pictures.test_show import TETRAHEDRON, mixture


def mesh(comment: str = "", corners: np.ndarray = TETRAHEDRON[1]) -> bytes:
    """A tetrahedron as .ply in ASCII."""
    head = f"ply\nformat ascii 1.0\n{comment}element vertex 4\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += f"element face {len(corners)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = [" ".join(map(repr, row)) for row in TETRAHEDRON[0].tolist()] + [f"3 {a} {b} {c}" for a, b, c in corners]
    return (head + "\n".join(rows) + "\n").encode()


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_a_face_without_its_vertex_is_the_sentence_of_the_other_commands(tmp_path, capsys, suffix):
    content = mesh(corners=np.array([(0, 1, 2), (0, 1, 99)]))
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError) as said:
        parse_mesh(content, str(tmp_path / "a.ply"))
    assert cli.main(["show", str(tmp_path / "a.ply"), "--output", str(tmp_path / f"a.{suffix}")]) == 2
    assert capsys.readouterr().err == f"gmcn: error: {said.value}\n"
    assert not (tmp_path / f"a.{suffix}").exists()


OPENED = """
import json, sys
from gmcn.pictures import show
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
for path in sys.argv[2:]:
    show.read_shape(path)
print(json.dumps([path for path in opened if path.startswith(sys.argv[1])]))
"""


def test_nothing_else_is_opened(tmp_path):
    """Whether it is there or not: materials, their textures, a texture of a .ply."""
    (tmp_path / "a.ply").write_bytes(mesh("comment TextureFile wood.png\n"))
    (tmp_path / "gone.ply").write_bytes(mesh("comment TextureFile gone.png\n"))
    Image.new("RGB", (2, 2)).save(tmp_path / "wood.png")
    (tmp_path / "a.mtl").write_text("newmtl wood\nmap_Kd wood.png\n")
    body = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl wood\nf 1/1 2/2 3/3\n"
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + body)
    (tmp_path / "gone.obj").write_text("mtllib gone.mtl\n" + body)
    paths = [str(tmp_path / name) for name in ("a.ply", "gone.ply", "a.obj", "gone.obj")]
    command = [sys.executable, "-c", OPENED, str(tmp_path), *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(set(json.loads(ran.stdout))) == sorted(paths)
    assert ran.stderr == ""


def test_pictures_are_drawn_as_they_are(tmp_path):
    """A bright corner stays bright, in all three formats, and `predict` reads the same numbers."""
    values = np.full((9, 12), 30, np.uint8)
    values[:4, :4] = 250
    np.save(tmp_path / "a.npy", values)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.pgm")
    for suffix in ("npy", "png", "pgm"):
        shape = shapes.read_shape(tmp_path / f"a.{suffix}")
        np.testing.assert_array_equal(shape.image, values)
        assert show.title_of(shape) == "a, 12 x 9 pixels"
        drawn = Image.open(show.show(tmp_path / f"a.{suffix}", output=tmp_path / "out.png")).convert("L")
        assert drawn.getpixel((int(0.1 * drawn.width), int(0.25 * drawn.height))) > 200
        assert drawn.getpixel((int(0.9 * drawn.width), int(0.8 * drawn.height))) < 80
        assert '"z":' in show.show(tmp_path / f"a.{suffix}", output=tmp_path / "a.html").read_text()


def test_arrays_are_clouds_where_they_are_narrow(tmp_path):
    points = np.random.default_rng(0).normal(size=(40, 4))
    np.save(tmp_path / "a.npy", points)
    np.testing.assert_array_equal(shapes.read_shape(tmp_path / "a.npy").points, points[:, :3])
    np.save(tmp_path / "a.npy", points[:8])
    assert shapes.read_shape(tmp_path / "a.npy").image.shape == (8, 4)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jpg", b"", "save it as a grey .png"),
        ("a.spz", b"", "write it as .ply that is not compressed"),
        ("a.las", b"", "write it as .ply or .xyz"),
        ("a.glb", b"", "write it as .obj or .ply"),
        ("a.ply", ply({"packed_position": np.zeros(2), "packed_scale": np.zeros(2)}), "a.ply holds compressed splats"),
        ("a.ply", ply(splats(3, scale_0=np.array([0, np.nan, 0]))), "such Gaussians out (of `show`, `predict`"),
    ],
)  # fmt: skip
def test_what_to_do_instead(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as said:
        shapes.read_shape(tmp_path / name)
    assert sentence in str(said.value)


def test_splats_are_drawn_as_gaussians(tmp_path):
    (tmp_path / "a.ply").write_bytes(ply(splats(6)))
    shape = shapes.read_shape(tmp_path / "a.ply")
    assert show.title_of(shape) == "a, 6 Gaussians"
    assert show.show(tmp_path / "a.ply", output=tmp_path / "a.png").is_file()


def test_points_and_splats_that_are_not_finite_are_left_out_on_demand(tmp_path):
    points = np.random.default_rng(0).normal(size=(30, 3))
    points[[3, 7]] = np.nan
    np.save(tmp_path / "a.npy", points)
    np.savez(tmp_path / "a.npz", points=points[None])
    np.savez(tmp_path / "n.npz", np.hstack([points, points]))  # with normals
    np.savetxt(tmp_path / "a.xyz", points)
    (tmp_path / "a.ply").write_bytes(ply(dict(zip("xyz", points.T, strict=True))))
    (tmp_path / "s.ply").write_bytes(ply(splats(5, opacity=np.array([0, np.nan, 0, 0, 0]))))
    for name, count in (("a.npy", 28), ("a.npz", 28), ("n.npz", 28), ("a.xyz", 28), ("a.ply", 28), ("s.ply", 4)):
        with pytest.raises(InputError, match="not finite"):
            shapes.read_shape(tmp_path / name)
        shape = shapes.read_shape(tmp_path / name, drop_not_finite=True)
        assert len(shape.points if shape.mixture is None else shape.mixture.weights) == count
    arguments = ["show", str(tmp_path / "a.npy"), "--drop-not-finite", "--output", str(tmp_path / "a.html")]
    assert cli.main(arguments) == 0


def small(monkeypatch) -> None:
    for name, limit in (("POINTS", 100), ("GAUSSIANS", 20), ("TRIANGLES", 300), ("PIXELS", 16)):
        monkeypatch.setattr(thinning, name, limit)


def test_large_clouds_side_by_side_are_thinned_with_their_colours(tmp_path, monkeypatch):
    small(monkeypatch)
    still, page = Mock(), Mock(wraps=interactive.cloud)
    monkeypatch.setattr(rendering.Picture, "add_points", still)
    monkeypatch.setattr(interactive, "cloud", page)
    points = np.random.default_rng(0).uniform(size=(1000, 3))
    for suffix in ("png", "html"):
        clouds.draw_clouds([points], tmp_path / f"a.{suffix}", [points])
    for shown, colours in (still.call_args.args[::2], (page.call_args.args[0], page.call_args.kwargs["colours"])):
        assert len(shown) == 100
        assert np.array_equal(shown, colours)


def large(folder: Path) -> dict[str, str]:
    """Files of more than the limits of ``small``, and what is said of them."""
    rng = np.random.default_rng(0)
    np.save(folder / "cloud.npy", rng.normal(size=(1000, 3)))
    np.save(folder / "flat.npy", rng.normal(size=(1000, 2)))
    np.save(folder / "image.npy", rng.normal(size=(40, 80)) ** 2)
    for name, dim in (("solid", 3), ("plane", 2)):
        save_tensors(folder / f"{name}.safetensors", mixture(dim, 50, 1)._asdict(), {})
    return {
        "cloud.npy": "drawn: 100 points chosen at random",
        "flat.npy": "drawn: 100 points chosen at random",
        "image.npy": "drawn: at most 16 pixels a side",
        "solid.safetensors": "drawn: 20 Gaussians in their place",
        "plane.safetensors": "drawn: 20 Gaussians in their place",
    }


def test_large_objects_are_thinned_and_the_picture_says_so(tmp_path, monkeypatch, caplog):
    said = large(tmp_path)
    assert not any(thinning.remark(shapes.read_shape(tmp_path / name), True) for name in said)
    small(monkeypatch)
    for name, sentence in said.items():
        assert sentence in show.title_of(shapes.read_shape(tmp_path / name))
        for suffix in ("html", "png"):
            caplog.clear()
            with caplog.at_level(logging.INFO, "gmcn"):
                path = show.show(tmp_path / name, output=tmp_path / f"a.{suffix}")
            assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / name} is large; {sentence}"]
        assert sentence in (tmp_path / "a.html").read_text()
        assert path.stat().st_size < 500_000


def test_a_mesh_of_many_triangles_is_a_small_page_and_a_whole_picture(tmp_path, monkeypatch):
    small(monkeypatch)
    sphere = icosphere(3)
    shape = shapes.Shape("ball", *sphere)
    assert "drawn" not in show.title_of(shape)
    assert show.title_of(shape, page=True) == "ball, 1,280 triangles\n(drawn: a mesh of at most 300 triangles)"
    vertices, triangles = thinning.coarse(*sphere)
    assert 100 < len(triangles) <= 300
    assert triangles.max() < len(vertices)
    lengths = np.linalg.norm(vertices, axis=-1)
    assert 0.8 < lengths.min() <= lengths.max() < 1.01
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    volume = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c))).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.25)
    one = np.zeros((5, 3)), np.tile([(0, 1, 2)], (400, 1))  # of no extent: nothing is left of it
    assert thinning.coarse(*one)[1].shape == (0, 3)


def test_the_same_points_are_chosen(monkeypatch):
    small(monkeypatch)
    points = np.arange(3000.0).reshape(1000, 3)
    chosen = thinning.some_points(points)
    np.testing.assert_array_equal(chosen, thinning.some_points(points))
    assert len(np.unique(chosen[:, 0])) == 100
    assert (np.diff(chosen[:, 0]) > 0).all()


@pytest.mark.parametrize("dim", [2, 3])
def test_fewer_gaussians_have_the_mass_of_all(monkeypatch, dim):
    small(monkeypatch)
    some = mixture(dim, 50, 1).map(lambda tensor: tensor[0].double())
    some.weights[::5] *= -1
    some.weights[7] = 0
    drawn = thinning.fewer_gaussians(some)
    assert drawn.components <= 20
    for sign in (1, -1):
        whole, left = ((sign * mixture.weights).clamp(min=0).sum() for mixture in (some, drawn))
        torch.testing.assert_close(left, whole)
    few = some.map(lambda tensor: tensor[:10])
    assert thinning.fewer_gaussians(few).components == 9


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["html", "png"])
def test_a_million_points_are_drawn_within_seconds(tmp_path, suffix):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(1_000_000, 3)))
    command = [sys.executable, "-c", "import sys; from gmcn.cli import main; sys.exit(main())", "show"]
    path = tmp_path / f"a.{suffix}"
    subprocess.run([*command, str(tmp_path / "a.npy"), "--output", str(path)], check=True, timeout=60)
    assert path.stat().st_size < 8e6
