"""What cannot be classified is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gmcn
from gmcn.artifacts import load_tensors, read_metadata, save_tensors
from gmcn.errors import InputError
from tests.inference.conftest import CLOUD


def nan_at(place: int) -> np.ndarray:
    cloud = CLOUD.copy()
    cloud[place, 1] = np.nan
    return cloud


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.npy", nan_at(7), "a coordinate of point 7 is not finite"),
        ("a.npy", CLOUD[:20], "a.npy has 20 points; this network was trained on clouds of 96"),
        ("a.npy", CLOUD[:, :2], "a cloud is numbers of shape (points, 3)"),
        ("a.npy", CLOUD[:0], "a.npy has 0 points"),
        ("a.npy", np.array([["a", "b", "c"]]), "a cloud is numbers"),
        ("a.npz", {"points": CLOUD[None, :, :2]}, "a.npz holds points in 2D, but this network was trained in 3D"),
        ("a.npz", {"points": nan_at(3)}, "a.npz: a coordinate of point 3 is not finite"),
        ("a.npz", {"a": CLOUD, "b": CLOUD}, "must hold one array, or one called 'points'"),
        ("a.png", b"", "cannot classify"),
        ("a.docx", b"", "this network was trained on points (.off, "),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "a.obj"),
        ("flat.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "flat.off has no surface"),
        *((f"empty{suffix}", b"", f"empty{suffix}") for suffix in
          (".off", ".obj", ".ply", ".stl", ".npy", ".npz", ".xyz", ".txt", ".safetensors")),
        *((f"noise{suffix}", b"\x00\xffab" * 40, f"noise{suffix}") for suffix in
          (".off", ".obj", ".ply", ".stl", ".npy", ".npz", ".xyz", ".txt", ".safetensors")),
    ],
)  # fmt: skip
def test_bad_clouds_and_meshes_are_one_sentence(solids, tmp_path, name, content, sentence):
    refused(solids.model, tmp_path / name, content, sentence)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.npy", np.zeros((8, 6)), "is all black"),
        ("a.npy", -np.ones((8, 6)), "has negative brightness"),
        ("a.npy", np.full((8, 6), np.nan), "a.npy has a number that is not finite, in row 0"),
        ("a.npy", np.ones((8, 6, 3)), "an image is numbers [rows, columns]"),
        ("a.npy", np.ones((0, 6)), "an image is numbers [rows, columns]"),
        ("a.npy", CLOUD, "has 3 x 200 pixels, but this network was trained on 6 x 8"),
        ("a.off", b"OFF", "this network was trained on images (.png, .pgm, .npy, .safetensors)"),
        *((f"empty{suffix}", b"", f"empty{suffix}") for suffix in (".png", ".pgm", ".npy")),
        *((f"noise{suffix}", b"\x89PNG\r\n\x1a\n" + b"ab" * 40, f"noise{suffix}") for suffix in (".png", ".pgm")),
    ],
)
def test_bad_images_are_one_sentence(marks, tmp_path, name, content, sentence):
    refused(marks, tmp_path / name, content, sentence)


def test_a_transparent_image_is_refused(marks, tmp_path):
    from PIL import Image

    Image.new("LA", (6, 8), (0, 128)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is transparent in places"):
        gmcn.predict(marks, tmp_path / "a.png")


def test_a_mesh_in_place_of_the_network_is_no_network(solids, tmp_path):
    mesh = next(solids.folder.rglob("*.off"))
    with pytest.raises(InputError, match=r"\.off is no network: a network is a result"):
        gmcn.predict(mesh, mesh)
    with pytest.raises(InputError, match=r"has no seed 99 \(known: "):
        gmcn.predict(solids.model, mesh, seed=99)


def refused(model, path: Path, content, sentence: str) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(InputError) as caught:
        gmcn.predict(model, path)
    assert sentence in str(caught.value)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_coloured_images_are_refused(marks, tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 6, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has colours"):
        gmcn.predict(marks, tmp_path / "a.png")


def test_artifacts_made_in_another_way_are_refused(solids, marks, tmp_path):
    with pytest.raises(InputError, match=r"was made with .*'components': 8.* but this network was trained with"):
        gmcn.predict(marks, solids.mixtures)
    with pytest.raises(InputError, match="holds no images and no mixtures"):
        gmcn.predict(marks, solids.points)
    tensors, metadata = load_tensors(solids.points)
    metadata["settings"]["normalize"] = False
    save_tensors(tmp_path / "p.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"was made with \{'normalize': False"):
        gmcn.predict(solids.model, tmp_path / "p.safetensors")
    tensors, metadata = load_tensors(solids.mixtures)
    tensors["covariances"][2] *= -1
    save_tensors(tmp_path / "m.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"m\.safetensors: the mixture of '.*' has a covariance that is not positive"):
        gmcn.predict(solids.model, tmp_path / "m.safetensors")


def test_a_network_that_does_not_describe_its_inputs_says_what_to_do(images, solids, tmp_path):
    with pytest.raises(InputError, match=r"does not say how its inputs were prepared.*gmcn export"):
        gmcn.predict(images.model, tmp_path)
    assert read_metadata(solids.model)["inputs"]["data"] == {
        "kind": "meshes", "points": 96, "sampling": "uniform", "normalize": True, "seed": 1
    }  # fmt: skip


def test_an_empty_folder_is_refused(solids, tmp_path):
    (tmp_path / "a.docx").touch()
    with pytest.raises(InputError, match="holds nothing that this network takes"):
        gmcn.predict(solids.model, tmp_path)
