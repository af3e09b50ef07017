"""A short training on a GPU."""

from __future__ import annotations

import math

import pytest
import torch

from gmcn.build_info import has_cuda_kernels
from gmcn.training import train

from .conftest import NETWORK, TRAINING, make_mixtures

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and has_cuda_kernels()), reason="needs a GPU and kernels that were built for it"
)


def test_a_training_on_the_gpu_learns_what_one_on_the_cpu_learns(tmp_path):
    mixtures = make_mixtures(tmp_path / "mixtures.safetensors", dim=3)
    settings = {"network": NETWORK, "training": TRAINING}
    results = {
        device: train(mixtures, settings=settings, seed=0, output=tmp_path / device, device=device, threads=1)
        for device in ("cuda", "cpu")
    }
    assert results["cuda"]["device"].startswith("cuda")
    cuda, cpu = (results[device]["metrics"] for device in ("cuda", "cpu"))
    assert all(math.isfinite(value) for value in cuda.values())
    losses = [name for name in cpu if "loss" in name]
    assert losses
    for name in losses:
        assert cuda[name] == pytest.approx(cpu[name], rel=0.05), name
