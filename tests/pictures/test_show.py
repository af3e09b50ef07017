"""`gmcn show`: every kind of file becomes every kind of picture, and what cannot be shown is one sentence."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch

from gmcn import Mixture, cli, ops
from gmcn.artifacts import save_tensors
from gmcn.errors import InputError
from gmcn.pictures import drawing, interactive, shapes, show
from gmcn.pictures.rendering import Picture, view_of
from tests.data.files import npy, write_off

TETRAHEDRON = (
    np.array([(0.0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]),
    np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]),
)
FILES = ["a.npy", "s.npy", "flat.npy", "a.npz", "u16.npz", "a.xyz", "a.ply", "m.ply", "m.off", "m.obj", "m.stl"]
ARTIFACTS = ["points/c.safetensors", "points/i.safetensors", "mixtures/c_em.safetensors", "mixtures/i_em.safetensors"]


def mixture(dim: int, count: int = 5, shapes: int = 3) -> Mixture:  # [shapes, count]
    generator = torch.Generator().manual_seed(dim)
    factors = torch.randn(shapes, count, dim, dim, generator=generator)
    covariances = factors @ factors.mT + 0.3 * torch.eye(dim)
    weights = torch.rand(shapes, count, generator=generator) / count
    return Mixture(weights, 4 + 2 * torch.randn(shapes, count, dim, generator=generator), covariances)


def write_artifacts(folder) -> None:
    """A data set ``c`` of clouds and ``i`` of images, three objects each, and their fits ``em``."""
    labels = {"labels": torch.tensor([0, 1, 1]), "split": torch.tensor([0, 1, 1], dtype=torch.uint8)}
    sampled = {
        "c": ("points", torch.randn(3, 40, 3)),
        "i": ("images", torch.randint(1, 255, (3, 6, 9), dtype=torch.uint8)),
    }
    for dataset, (key, values) in sampled.items():
        metadata = {"dataset": dataset, "names": [f"{dataset}-{row}" for row in range(3)], "class_names": ["p", "q"]}
        save_tensors(folder / f"points/{dataset}.safetensors", {key: values, **labels}, metadata)
        fitted = {**mixture(3 if key == "points" else 2)._asdict(), **labels}
        quality = {"log_likelihood_train": -1.25, "seconds": 3.5}
        metadata |= {"fit": "em", "quality": quality}
        save_tensors(folder / f"mixtures/{dataset}_em.safetensors", fitted, metadata)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a file of every kind."""
    import trimesh

    folder = tmp_path_factory.mktemp("show")
    points = np.random.default_rng(0).normal(size=(30, 3))
    np.save(folder / "a.npy", points)
    np.save(folder / "s.npy", np.stack([points, points + 1]).astype(np.float32))
    np.save(folder / "flat.npy", points[:, :2])
    np.savez(folder / "a.npz", points=points[None], name=np.array([b"first"]))
    np.savez(folder / "u16.npz", points_u16=np.array([[(0, 0, 0), (65535, 65535, 65535)]], dtype=np.uint16))
    np.savetxt(folder / "a.xyz", points, header="x y z")
    trimesh.PointCloud(points).export(folder / "a.ply")
    write_off(folder / "m.off", *TETRAHEDRON)
    for suffix in ("ply", "obj", "stl"):
        trimesh.Trimesh(*TETRAHEDRON, process=False).export(folder / f"m.{suffix}")
    write_artifacts(folder)
    return folder


@pytest.mark.parametrize("dim", [2, 3])
def test_outlines_are_where_the_mahalanobis_distance_says(dim):
    some = mixture(dim).map(lambda tensor: tensor[0].double())
    surfaces = drawing.ellipses(some, 1.7) if dim == 2 else drawing.ellipsoids(some, 1.7, subdivisions=2)[0]
    offsets = torch.from_numpy(surfaces) - some.positions[:, None]  # [N, V, D]
    distances = torch.einsum("nvi,nij,nvj->nv", offsets, some.covariances.inverse(), offsets)
    torch.testing.assert_close(distances, torch.full_like(distances, 1.7**2))


@pytest.mark.parametrize("subdivisions", [0, 1, 2])
def test_an_icosphere_is_closed_and_turned_outwards(subdivisions):
    vertices, triangles = drawing.icosphere(subdivisions)
    assert len(triangles) == 20 * 4**subdivisions
    assert len(vertices) == 10 * 4**subdivisions + 2
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=-1), 1)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # every edge once in each direction
    assert (np.linalg.det(vertices[triangles]) > 0).all()


def test_the_field_is_what_evaluate_says_with_its_first_row_at_the_top():
    some = mixture(2).map(lambda tensor: tensor[0])
    values = drawing.field(some, (0, 8, 0, 4), 8)
    points = torch.tensor([(0.5, 0.5), (7.5, 0.5), (0.5, 3.5)])
    np.testing.assert_allclose(values[[0, 0, 3], [0, 7, 0]], ops.evaluate(some, points), rtol=1e-6)


def test_a_still_ellipsoid_is_exact():
    covariance = torch.diag(torch.tensor([0.04, 0.01, 0.09]))
    one = Mixture(torch.ones(1), torch.zeros(1, 3), covariance[None])
    view = view_of(-np.ones(3), np.ones(3), azimuth=0.0, elevation=0.0, pixels=200)
    picture = Picture(view)
    picture.add_ellipsoids(one, deviations=2.0)
    size = 2 * view.radius / 200
    area = picture.image()[..., 3].sum() * size**2  # along x it covers the ellipse of y and z
    assert area == pytest.approx(np.pi * 0.2 * 0.6, rel=0.01)
    assert picture.depth.max() == pytest.approx(0.4, rel=0.01)


def test_the_nearer_ellipsoid_hides_the_other():
    two = Mixture(torch.ones(2), torch.tensor([(0.5, 0, 0), (-0.5, 0, 0)]), 0.01 * torch.eye(3).expand(2, 3, 3))
    picture = Picture(view_of(-np.ones(3), np.ones(3), azimuth=0.0, elevation=0.0, pixels=40))
    picture.add_ellipsoids(two, colours=np.array([(1.0, 0, 0), (0, 1.0, 0)]))
    red, green, _, opacity = picture.image()[20, 20]
    assert red > green
    assert opacity == 1


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_views_are_upright(up):
    axes = view_of(-np.ones(3), np.ones(3), up=up).axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert axes[0, "xyz".index(up)] == pytest.approx(0)
    assert axes[1, "xyz".index(up)] > 0.8
    np.testing.assert_allclose(
        np.linalg.norm(list(interactive._upright(interactive._EYE, up).values())), 1.86, atol=0.01
    )


@pytest.mark.parametrize("suffix", ["html", "png", pytest.param("svg", marks=pytest.mark.slow)])  # drawn as png is
@pytest.mark.parametrize("name", [*FILES, *ARTIFACTS])
def test_every_file_as_every_picture(files, tmp_path, name, suffix):
    path = tmp_path / f"picture.{suffix}"
    assert cli.main(["show", str(files / name), "--output", str(path)]) == 0
    start = {"html": b"<!doctype html>", "png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    content = path.read_bytes()
    assert content.startswith(start)
    assert list(tmp_path.iterdir()) == [path]
    again = show.show(files / name, output=tmp_path / f"again.{suffix}")
    assert again.read_bytes() == content


def test_a_page_needs_nothing_from_outside(files, tmp_path):
    page = show.show(files / "mixtures/c_em.safetensors", output=tmp_path / "a.html").read_text()
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)\s*=", page)
    assert "<title>c-0, 5 Gaussians (em)</title>" in page
    assert len(page) < 5.5e6


def test_a_page_of_128_gaussians_is_small(tmp_path):
    metadata = {"names": ["a"], "fit": "em"}
    save_tensors(tmp_path / "a.safetensors", mixture(3, 128, 1)._asdict(), metadata)
    page = show.show(tmp_path / "a.safetensors", output=tmp_path / "a.html").read_text()
    assert len(page) - page.rindex("Plotly.newPlot(") < 3e6


def test_without_output_the_page_is_temporary_and_opened(files, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(show, "_has_display", lambda: True)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert cli.main(["show", str(files / "m.off")]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(str(tmp_path))
    assert opened == [f"file://{printed}"]


def test_objects_are_found_by_index_and_name_with_what_they_were_fitted_to(files):
    path = files / "mixtures/c_em.safetensors"
    first, second = shapes.read_shape(path), shapes.read_shape(path, name="c-1")
    assert (first.name, second.name, shapes.read_shape(path, index=1).name) == ("c-0", "c-1", "c-1")
    assert second.points.shape == (40, 3)
    torch.testing.assert_close(second.mixture.positions.float(), mixture(3).positions[1])
    assert shapes.read_shape(files / "mixtures/i_em.safetensors").image.shape == (6, 9)
    assert shapes.read_shape(files / "a.npz", name="first").points.shape == (30, 3)
    assert shapes.read_shape(files / "u16.npz").points.tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert shapes.read_shape(files / "m.off").triangles.shape == (4, 3)


def test_weights_of_both_signs_have_two_colours(tmp_path):
    some = mixture(2, shapes=1)
    tensors = some._replace(weights=torch.tensor([[1.0, -1, 0, 2, -0.5]]))._asdict()
    save_tensors(tmp_path / "a.safetensors", tensors, {})
    assert show.show(tmp_path / "a.safetensors", output=tmp_path / "a.png").is_file()
    solid = mixture(3, shapes=1).map(lambda tensor: tensor[0])
    colours = drawing.component_colours(solid._replace(weights=torch.tensor([1.0, -1, 1, 1, -1])))
    assert ((colours[:, 0] > colours[:, 2]) == (np.array([1, -1, 1, 1, -1]) > 0)).all()


def _broken(folder, name: str):
    """Writes a file that cannot be shown and gives its path."""
    path = folder / name.split(":")[-1]
    bad = mixture(3)
    write = {
        "nan:a.npy": lambda: np.save(path, np.array([(0.0, 0, 0), (0, np.nan, 0)])),
        "empty:a.npy": lambda: np.save(path, np.zeros((0, 3))),
        "deep:a.npy": lambda: np.save(path, np.zeros((2, 4, 7))),
        "text:a.npy": lambda: np.save(path, np.array([["a", "b", "c"]])),
        "words:a.npy": lambda: np.save(path, np.array([["a", "b", "c", "d"]])),
        "huge:a.npy": lambda: path.write_bytes(npy("(1000000000000, 3)")),
        "damaged:a.npz": lambda: path.write_bytes(b"PK\x03\x04 no"),
        "many:a.npz": lambda: np.savez(path, a=np.zeros((2, 3)), b=np.zeros((2, 3))),
        "words:a.xyz": lambda: path.write_text("0 0 0\n1 2\n"),
        "damaged:a.ply": lambda: path.write_bytes(b"ply\nformat nonsense"),
        "damaged:a.stl": lambda: path.write_bytes(b"x" * 100),
        "damaged:a.off": lambda: path.write_text("OFF\n3 1 0\n0 0 0\n"),
        "other:a.safetensors": lambda: save_tensors(path, {"x": torch.zeros(1)}, {}),
        "damaged:a.safetensors": lambda: path.write_bytes(b"no"),
        "nan:m.safetensors": lambda: save_tensors(path, bad._replace(weights=bad.weights * torch.nan)._asdict(), {}),
        "thin:m.safetensors": lambda: save_tensors(
            path, bad._replace(covariances=-bad.covariances)._asdict(), {"names": ["u", "v", "w"]}
        ),
        "flat:m.safetensors": lambda: save_tensors(path, bad.map(lambda tensor: tensor[0])._asdict(), {}),
        "odd:m.safetensors": lambda: save_tensors(path, bad._replace(weights=bad.weights[:, 1:])._asdict(), {}),
        "names:m.safetensors": lambda: save_tensors(path, bad._asdict(), {"names": ["u"]}),
        "four:m.safetensors": lambda: save_tensors(path, {"points": torch.zeros(2, 5, 4)}, {}),
        "zero:m.safetensors": lambda: save_tensors(path, bad._replace(weights=0 * bad.weights)._asdict(), {}),
    }
    if name in write:
        write[name]()
    return path


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("a.docx", [], "its name must end in one of .safetensors, .off, .obj"),
        ("gone.off", [], "gone.off does not exist"),
        ("nan:a.npy", [], "a coordinate of point 1 is not finite"),
        ("empty:a.npy", [], "is empty: it has no points"),
        ("deep:a.npy", [], "points are numbers [points, 2 or 3]"),
        ("text:a.npy", [], "points are numbers [points, 2 or 3]"),
        ("words:a.npy", [], "an image is numbers [rows, columns]"),
        ("huge:a.npy", [], "a.npy ends before the array (1000000000000, 3) that its header promises"),
        ("damaged:a.npz", [], "a.npz is truncated or damaged"),
        ("many:a.npz", [], "must hold one array, or one called 'points'; it has a, b"),
        ("words:a.xyz", [], "a.xyz"),
        ("damaged:a.ply", [], "a.ply is no .ply file"),
        ("damaged:a.stl", [], "a.stl"),
        ("damaged:a.off", [], "a.off, line 2: 3 vertices and 1 faces cannot stand in 3 lines"),
        ("other:a.safetensors", [], "holds neither mixtures nor points or images, but x"),
        ("damaged:a.safetensors", [], "a.safetensors is damaged"),
        ("nan:m.safetensors", [], "has a number that is not finite"),
        ("thin:m.safetensors", [], "'u' of"),
        ("flat:m.safetensors", [], "an artifact has several objects in 2D or 3D"),
        ("odd:m.safetensors", [], "are of different numbers of Gaussians"),
        ("names:m.safetensors", [], "has 1 names for 3 objects; make it again"),
        ("four:m.safetensors", [], "its points are [2, 5, 4]"),
        ("zero:m.safetensors", [], "is empty: all its weights are 0"),
        ("zero:m.safetensors", ["--index", "3"], "no object 3 in"),
        ("zero:m.safetensors", ["--index", "-1"], "no object -1 in"),
        ("zero:m.safetensors", ["--name", "u"], "have no names; say which one by --index"),
        ("thin:m.safetensors", ["--name", "vv"], "unknown object of"),
        ("m.off", ["--index", "1"], "it has 1, counted from 0"),
        ("m.off", ["--name", "m"], "have no names"),
        ("m.off", ["--points", "p"], "--points is for mixtures artifacts"),
        ("m.off", ["--output", "a.pdf"], "its name must end in one of .html, .png, .svg"),
        ("mixtures/c_em.safetensors", ["--points", "points/i.safetensors"], "their objects have other names"),
        ("mixtures/c_em.safetensors", ["--points", "gone.safetensors"], "gone.safetensors does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(files, tmp_path, monkeypatch, capsys, name, options, sentence):
    monkeypatch.chdir(files)
    path = files / name if (files / name).exists() else _broken(tmp_path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cli.main(["show", str(path), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gmcn: error: ")
    assert printed.err.count("\n") == 1
    assert sentence in printed.err


def test_a_close_name_is_suggested(files):
    with pytest.raises(InputError, match=r"unknown object of .* 'c1'; did you mean 'c-1'\? \(known: c-0, c-1, c-2\)"):
        shapes.read_shape(files / "mixtures/c_em.safetensors", name="c1")
