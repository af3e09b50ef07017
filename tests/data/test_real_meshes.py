"""Meshes and clouds as they were published, where GMCN_MIRROR has them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from gmcn.artifacts import load_tensors
from gmcn.data import download, sample
from gmcn.data.containers import contents, find_members
from gmcn.data.meshes import parse_mesh
from gmcn.data.npz import read_npz
from tests.config.examples import REAL
from tests.data.files import read

DATASETS = REAL["datasets"]


@pytest.fixture
def sampled(mirror, tmp_path):
    """A function that downloads and samples a data set: tensors, metadata and the downloaded file."""

    def make(dataset: str, threads: int = 1, **changes):
        settings = DATASETS[dataset] | changes
        (entry,) = settings["files"]
        if not (mirror(entry["folder"]) / entry["name"]).is_file():
            pytest.skip(f"needs {entry['folder']}/{entry['name']} below GMCN_MIRROR")
        download(dataset, settings=settings, output=tmp_path)
        path = tmp_path / f"{dataset}.safetensors"
        sample(dataset, settings=settings, downloads=tmp_path, output=path, threads=threads)
        return *load_tensors(path), tmp_path / entry["name"]

    return make


def chamfer(a, b):
    """The larger of the two mean distances to the nearest point, relative to the diagonal of ``b``."""
    from scipy.spatial import cKDTree

    means = (cKDTree(b).query(a)[0].mean(), cKDTree(a).query(b)[0].mean())
    return max(means) / np.linalg.norm(np.ptp(b, axis=0))


def test_every_mesh_of_the_princeton_benchmark_is_sampled(sampled):
    tensors, metadata, _ = sampled("psb10", threads=os.cpu_count() or 1, sampling="uniform", points=256)
    assert metadata["refused"] == {}
    assert tensors["points"].shape == (393, 256, 3)
    assert len(metadata["class_names"]) == 10
    assert tensors["labels"].bincount().min() >= 30
    assert tensors["points"].norm(dim=-1).amax(-1).allclose(tensors["points"].new_ones(393), atol=1e-5)


@pytest.mark.parametrize("sampling", ["uniform", "poisson"])
def test_points_lie_on_their_meshes_and_are_like_what_others_sampled(sampled, mirror, sampling):
    import point_cloud_utils

    tensors, metadata, file = sampled("bathtubs5", sampling=sampling, normalize=False)
    points = tensors["points"].numpy().astype(np.float64)  # [5, 1024, 3]
    members, _ = find_members(file, (".off",))
    assert metadata["names"] == [member.name for member in members]
    for cloud, (_, source, content) in zip(points, contents(file, members), strict=True):
        vertices, triangles = parse_mesh(content, source)
        distance, *_ = point_cloud_utils.closest_points_on_mesh(cloud, vertices, triangles)
        assert np.abs(distance).max() < 1e-5 * np.linalg.norm(np.ptp(vertices, axis=0))

    published = read_npz(mirror("modelnet10") / "modelnet10_poisson1024.npz", {})
    theirs = read(published)[[published.names.index(name) for name in metadata["names"]]]
    size = np.linalg.norm(np.ptp(theirs, axis=1), axis=-1)[:, None, None]
    for index in range(5):
        assert chamfer(points[index], theirs[index]) < 0.04
        # As large as ours, at the same place: another bathtub.
        other = (index + 1) % 5
        moved = theirs[other] / size[other] * size[index]
        moved += theirs[index].mean(axis=0) - moved.mean(axis=0)
        assert chamfer(points[index], moved) > 1.5 * chamfer(points[index], theirs[index])
