"""Small generated data sets of mixtures that a tiny network can tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.fitting import fit_points

NETWORK = {"layers": [[2, 4]], "kernel_components": 3}
TRAINING = {
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_epochs": 0.5,
    "validation_fraction": 0.2,
    "checkpoint_minutes": 0,
}


CLASSES = ["line", "ring", "blob", "pair"]


def make_mixtures(
    path: Path,
    *,
    classes: int = 2,
    train: int = 20,
    test: int = 6,
    components: int = 8,
    dim: int = 2,
    seed: int = 0,
) -> Path:
    """Write mixtures of components on a line, on a ring, in a blob or a pair of blobs: so many of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(train + test)
    count = len(labels)
    place = 2 * torch.rand(count, components, generator=generator) - 1
    flat = torch.zeros_like(place)
    noise = torch.randn(count, components, dim, generator=generator)
    shapes = [
        torch.stack([2 * place, flat], -1),
        torch.stack([(torch.pi * place).cos(), (torch.pi * place).sin()], -1),
        noise[..., :2],
        torch.stack([2 * place.sign(), flat], -1),
    ]
    positions = 0.1 * noise
    positions[..., :2] += torch.stack(shapes)[labels, torch.arange(count)]
    covariance = 0.1 * torch.eye(dim) * (0.5 + torch.rand(count, components, 1, 1, generator=generator))
    tensors = {
        "weights": torch.full((count, components), 1 / components),
        "positions": positions,
        "covariances": covariance,
        "labels": labels,
        "split": (torch.arange(count) >= classes * train).to(torch.uint8),
    }
    metadata = {
        "dataset": "toy",
        "fit": "kmeans8",
        "dim": dim,
        "class_names": CLASSES[:classes],
        "names": [f"shape{index}" for index in range(count)],
        "settings": {"components": components},
        "quality": {},
        "provenance": {},
        "run_id": "fit-run",
        "points_run_id": "points-run",
    }
    save_tensors(path, tensors, metadata)
    return path


CLOUDS_FIT = {"components": 6, "method": "kmeans", "covariance_floor": 1e-3, "seed": 0}


def make_clouds(path: Path) -> Path:
    """Write sticks and balls of 50 points, in turn: twelve to train on, four to test."""
    clouds = torch.randn(16, 50, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % 2
    clouds[labels == 0] *= torch.tensor([1, 0.1, 0.1])
    facts = {"class_names": ["stick", "ball"], "names": [f"shape{index}" for index in range(16)], "dataset": "toy"}
    split = (torch.arange(16) >= 12).to(torch.uint8)
    save_tensors(path, {"points": clouds, "labels": labels, "split": split}, facts)
    return path


def fit_clouds(path: Path, points: Path, settings: dict, **more) -> Path:
    """Write mixtures of all clouds of ``points``, which say that they were fitted by ``settings``."""
    tensors, metadata = load_tensors(points)
    clouds = tensors.pop("points")
    mixture = fit_points(clouds, CLOUDS_FIT["components"], covariance_floor=CLOUDS_FIT["covariance_floor"])
    save_tensors(
        path, {**mixture._asdict(), **tensors}, {**metadata, "dim": 3, "fit": "own", "settings": settings, **more}
    )
    return path


@pytest.fixture
def clouds(tmp_path) -> tuple[Path, Path]:
    """Clouds, and the mixtures that are fitted to them."""
    points = make_clouds(tmp_path / "toy.safetensors")
    return points, fit_clouds(tmp_path / "toy_own.safetensors", points, CLOUDS_FIT)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mixtures(tmp_path) -> Path:
    """Two classes of 20 training and 6 test mixtures."""
    return make_mixtures(tmp_path / "toy_kmeans8.safetensors")


@pytest.fixture
def settings() -> dict:
    """A tiny network, trained for four epochs of four batches."""
    return {"network": dict(NETWORK), "training": dict(TRAINING)}


class Recorder:
    """Stands in for a tracking run: keeps the metrics, and does what ``at`` says when a step is logged."""

    id = "train-run"

    def __init__(self, at=None):
        self.at = at or {}
        self.metrics = []
        self.artifacts = []

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, metrics))
        if "train/loss" in metrics and step in self.at:
            self.at[step]()

    def log_artifact(self, path):
        self.artifacts.append(path)
