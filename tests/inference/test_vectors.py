"""A network on vectors: it answers about artifacts of vectors, and says so of other files."""

from __future__ import annotations

import pytest
import torch

import gmcn
from gmcn.artifacts import save_tensors
from gmcn.errors import InputError
from gmcn.training import train


@pytest.fixture
def vectors(tmp_path):
    """Two classes by the sign of the first of four numbers."""
    data = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    tensors = {"vectors": data, "labels": (data[:, 0] > 0).long(), "split": (torch.arange(60) % 3 == 0).byte()}
    save_tensors(tmp_path / "vectors.safetensors", tensors, {"class_names": ["below", "above"], "dataset": "toy"})
    return tmp_path / "vectors.safetensors"


def test_a_network_on_vectors_is_trained_and_answers(vectors, tmp_path):
    training = {"epochs": 20, "batch_size": 10, "learning_rate": 0.05, "validation_fraction": 0.2}
    settings = {"network": {"kind": "mlp", "hidden": [16]}, "training": training}
    train(vectors, settings=settings, seed=0, output=tmp_path / "run", device="cpu", threads=1)
    found = gmcn.predict(tmp_path / "run", vectors, device="cpu")
    data = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    right = [entry.class_name == ("above" if row[0] > 0 else "below") for entry, row in zip(found, data, strict=True)]
    assert sum(right) > 50
    (tmp_path / "a.ply").write_text("ply")
    with pytest.raises(
        InputError, match=r"cannot classify .*a\.ply: this network was trained on vectors \(.safetensors\)"
    ):
        gmcn.predict(tmp_path / "run", tmp_path / "a.ply", device="cpu")
