"""The settings of CUDA's libraries for a training on a GPU, tested without one."""

from __future__ import annotations

import os

import pytest
import torch

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
