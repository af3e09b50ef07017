"""The stage `fit` and its artifact."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data import sample
from gmcn.errors import InputError
from gmcn.fitting import fit, fit_points
from gmcn.ops import evaluate

SETTINGS = {
    "method": "kmeans",
    "components": 6,
    "iterations": 20,
    "em_steps": 1,
    "covariance_floor": 1e-3,
    "seed": 3,
}


class Run:
    id = "run-2"

    def __init__(self):
        self.metrics = {}

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.safetensors"
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 100, "normalize": True}
    sample("solids10", settings=settings, downloads=None, output=path)
    return path


def test_artifact(tmp_path, points):
    run, output = Run(), tmp_path / "mixtures.safetensors"
    fit(points, settings=SETTINGS, output=output, dataset="solids10", name="kmeans6", run=run)
    tensors, metadata = load_tensors(output)
    source, source_metadata = load_tensors(points)
    expected = fit_points(source["points"], 6, iterations=20, covariance_floor=1e-3, seed=3)
    for key, tensor in expected._asdict().items():
        assert torch.equal(tensors[key], tensor)
        assert tensors[key].dtype == torch.float32
    assert torch.equal(tensors["labels"], source["labels"])
    assert torch.equal(tensors["split"], source["split"])
    assert metadata["names"] == source_metadata["names"]
    assert metadata["class_names"] == source_metadata["class_names"]
    assert (metadata["dataset"], metadata["fit"], metadata["dim"]) == ("solids10", "kmeans6", 3)
    assert metadata["settings"] == SETTINGS
    assert metadata["run_id"] == "run-2"
    # The likelihood said is the mixtures', evaluated by the operations.
    density = evaluate(expected.to(torch.float64), source["points"].double()).log().mean(-1)
    quality = metadata["quality"]
    assert quality["log_likelihood_test"] == pytest.approx(density[source["split"] == 1].mean().item(), rel=1e-6)
    assert quality["log_likelihood_train"] == pytest.approx(density[source["split"] == 0].mean().item(), rel=1e-6)
    assert quality["empty_share"] == 0
    assert 0 < quality["floored_share"] < 1
    assert run.metrics["fit/log_likelihood_test"] == quality["log_likelihood_test"]


def test_shares_of_empty_and_floored_components(tmp_path):
    path, output = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    plane = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    point = torch.zeros(1, 50, 3)
    labels, split = torch.tensor([0, 0]), torch.tensor([0, 1], dtype=torch.uint8)
    save_tensors(
        path,
        {"points": torch.cat([plane, point]), "labels": labels, "split": split},
        {"class_names": ["a"], "names": ["plane", "point"]},
    )
    fit(path, settings={"components": 2}, output=output, dataset="d", name="f")
    quality = load_tensors(output)[1]["quality"]
    assert quality["empty_share"] == 0.25
    assert quality["floored_share"] == 0.75


def test_images(tmp_path):
    path, output = tmp_path / "digits.safetensors", tmp_path / "m.safetensors"
    sample("digits", settings={"kind": "digits"}, downloads=None, output=path)
    fit(path, settings={"components": 4, "method": "fps"}, output=output, dataset="digits", name="fps4")
    tensors, metadata = load_tensors(output)
    assert tensors["positions"].shape == (1797, 4, 2)
    assert metadata["dim"] == 2
    assert metadata["run_id"] is None


def test_errors(tmp_path, points):
    output = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match=r"nowhere\.safetensors does not exist"):
        fit(tmp_path / "nowhere.safetensors", settings=SETTINGS, output=output, dataset="d", name="f")
    with pytest.raises(InputError, match="fit 'f' needs 'components' and knows only"):
        fit(points, settings={"component": 6}, output=output, dataset="d", name="f")
    tensors, metadata = load_tensors(points)
    empty = tmp_path / "empty.safetensors"
    save_tensors(empty, {**tensors, "points": tensors["points"][:, :0]}, metadata)
    with pytest.raises(InputError, match=r"empty\.safetensors: the clouds are empty"):
        fit(empty, settings=SETTINGS, output=output, dataset="d", name="f")
    assert not output.exists()
