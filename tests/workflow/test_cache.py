"""Checkouts that name the same SNAKEMAKE_OUTPUT_CACHE download, sample and fit once between them."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from gmcn.artifacts import load_tensors
from tests.workflow.conftest import Checkout

STAGES = {"datasets": "download", "points": "sample", "mixtures": "fit"}
MIXTURES = "results/mixtures/tiny_kmeans16.safetensors"
FILES = (MIXTURES, "results/mixtures/tiny_kmeans16.json", "results/points/tiny.safetensors")
TINY = """
datasets: {tiny: {kind: clouds, points: %d, files: [{name: clouds.npz, url: null, sha256: null}]}}
fits: {kmeans16: {seed: %d}}
"""


def config(points: int = 64, seed: int = 0) -> str:
    return TINY % (points, seed)


@pytest.fixture
def shared(monkeypatch, tmp_path):
    """A cache, and a mirror that has one small archive of clouds."""
    clouds = {
        "points": np.random.default_rng(0).random((6, 80, 3), dtype=np.float32),
        "label": np.arange(6) % 2,
        "is_train": np.arange(6) < 4,
        "name": np.array([f"cloud{index}" for index in range(6)]),
        "class_names": np.array(["cup", "shoe"]),
    }
    (tmp_path / "mirror/tiny").mkdir(parents=True)
    np.savez(tmp_path / "mirror/tiny/clouds.npz", **clouds)
    monkeypatch.setenv("GMCN_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkouts(pristine, tmp_path):
    """Two checkouts of the same workflow."""
    made = []
    for name in ("first", "second"):
        shutil.copytree(pristine.folder, tmp_path / name, symlinks=True)
        made.append(Checkout(tmp_path / name))
    return made


def worked(checkout: Checkout, settings: str, *targets: str) -> list[str]:
    """The stages that did something until the targets were there."""
    answer = checkout.snakemake("--cores", "2", targets=targets or (MIXTURES,), config=settings)
    assert answer.status == 0, answer.text
    made = re.findall(r"Moving output file results/(\w+)/\S+ to cache", answer.text)
    return [STAGES[folder] for folder in dict.fromkeys(made)]


@pytest.mark.slow
def test_two_checkouts_download_sample_and_fit_once(shared, checkouts):
    first, second = checkouts
    assert worked(first, config()) == ["download", "sample", "fit"]
    before = {file: (first.folder / file).read_bytes() for file in FILES}
    # It would have given them other run ids and dates.
    assert worked(second, config()) == []
    for file in FILES:
        assert (second.folder / file).resolve().parent == shared
        assert (second.folder / file).read_bytes() == before[file]
    assert second.plan(MIXTURES, config=config()) == {}

    assert worked(second, config(seed=1)) == ["fit"]
    assert worked(second, config(points=32)) == ["sample", "fit"]
    assert worked(second, config()) == []  # and back again
    assert {file: (first.folder / file).read_bytes() for file in FILES} == before
    assert json.loads((second.folder / FILES[1]).read_text())["fit"] == "kmeans16"

    source = second.folder / "gmcn/fitting/kmeans.py"
    source.write_text(source.read_text() + "\n# edited\n")
    assert worked(second, config()) == ["fit"]


@pytest.mark.slow
def test_a_file_of_another_class_is_not_taken_from_the_cache(shared, pristine, tmp_path):
    shutil.copytree(pristine.folder, tmp_path / "checkout", symlinks=True)
    checkout = Checkout(tmp_path / "checkout")
    folder = tmp_path / "scans"
    for index, name in enumerate(("cup/train/1.npy", "cup/test/2.npy", "shoe/train/3.npy", "shoe/test/4.npy")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, np.random.default_rng(index).random((64, 3), dtype=np.float32))
    settings = f"datasets: {{tiny: {{kind: clouds, points: 64, path: {folder}}}}}\n"
    target = "results/points/tiny.safetensors"

    def classes():
        assert worked(checkout, settings, target) == ["sample"]
        tensors, metadata = load_tensors(checkout.folder / target)
        return dict(zip(metadata["names"], tensors["labels"].tolist(), strict=True))

    assert classes() == {"1": 0, "2": 0, "3": 1, "4": 1}
    (folder / "cup/train/1.npy").rename(folder / "shoe/train/1.npy")
    (folder / "shoe/train/3.npy").rename(folder / "cup/train/3.npy")
    assert classes() == {"1": 1, "2": 0, "3": 0, "4": 1}
