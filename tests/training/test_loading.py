"""Trained networks read back."""

from __future__ import annotations

import pytest
import torch

import gmcn
from gmcn.artifacts import load_tensors, save_tensors, write_json
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.models import GMCN


@pytest.fixture
def run_folder(tmp_path):
    """Two untrained networks as if two seeds had been trained."""
    folder = tmp_path / "runs" / "toy_small"
    for seed in (2, 10):
        model = GMCN([[2, 4]], 2, 2, seed=seed)
        save_tensors(folder / f"seed{seed}" / "model.safetensors", model.state_dict(), {"network": model.config})
    entries = {str(seed): {"path": f"runs/toy_small/seed{seed}/model.safetensors"} for seed in (2, 10)}
    write_json(tmp_path / "toy_small.json", {"models": entries})
    return folder


def test_result_folder_and_file_give_the_same_network(run_folder, mixtures):
    data = read_split(mixtures, TEST)
    paths = [
        run_folder.parent.parent / "toy_small.json",
        run_folder,
        run_folder / "seed2",
        run_folder / "seed2" / "model.safetensors",
    ]
    outputs = [gmcn.load(path)(data.inputs) for path in paths]
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert not gmcn.load(run_folder).training
    other = gmcn.load(run_folder, seed=10)(data.inputs)
    assert not torch.equal(other, outputs[0])


def test_what_is_not_there_is_named(run_folder):
    with pytest.raises(InputError, match=r"has no seed 3 \(known: 2, 10\)"):
        gmcn.load(run_folder, seed=3)
    with pytest.raises(InputError, match="does not exist"):
        gmcn.load(run_folder / "seed7")
    with pytest.raises(InputError, match="names no trained network"):
        gmcn.load(run_folder.parent)


def test_damaged_files_are_named(run_folder):
    path = run_folder / "seed2" / "model.safetensors"
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, {})
    with pytest.raises(InputError, match="holds no network of this project"):
        gmcn.load(path)
    tensors.pop("blocks.0.convolution.raw_weights")
    save_tensors(path, tensors, metadata)
    with pytest.raises(InputError, match=r"does not fit the network it describes.*raw_weights"):
        gmcn.load(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged"):
        gmcn.load(path)
