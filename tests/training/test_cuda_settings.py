"""What is said and set for a GPU, tested without one."""

from __future__ import annotations

import os

import pytest
import torch

from gmcn import device
from gmcn.training.callbacks import LastCheckpoint
from gmcn.training.stage import _reproducible

NAME = "CUBLAS_WORKSPACE_CONFIG"


@pytest.mark.parametrize(
    ("device", "own", "inside"),
    [("cuda", None, ":4096:8"), ("cuda", ":16:8", ":16:8"), ("cpu", None, None)],
)
def test_cublas_repeats_in_a_training_unless_the_user_has_said_otherwise(monkeypatch, device, own, inside):
    monkeypatch.delenv(NAME, raising=False)
    if own:
        monkeypatch.setenv(NAME, own)
    with _reproducible(0, None, torch.device(device)):
        assert os.environ.get(NAME) == inside
    assert os.environ.get(NAME) == own


@pytest.mark.parametrize(("name", "kernels", "lines"), [("auto", False, 1), ("auto", True, 0), ("cpu", False, 0)])
def test_a_gpu_that_is_not_used_is_said(monkeypatch, caplog, name, kernels, lines):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "has_cuda_kernels", lambda: kernels)
    assert device.select_device(name).type == ("cuda" if kernels else "cpu")
    assert len(caplog.messages) == lines
    assert all("the GPU is not used: gmcn was built without CUDA kernels; " in line for line in caplog.messages)


def test_a_training_counts_none_of_the_memory_of_those_before(monkeypatch, tmp_path):
    peaks = {"cuda:1": 1000}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peaks["cuda:1"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.update({str(device): 10}))
    assert LastCheckpoint(tmp_path, "key", 0, "code", torch.device("cuda:1")).peak_memory() == 10
