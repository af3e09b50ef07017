"""Fixtures: every operation is tested as the compiled one and as its plain-torch twin."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops
import gmcn.ops.reference


@pytest.fixture(params=["compiled", "reference"])
def ops(request):
    """The module under test."""
    return gmcn.ops if request.param == "compiled" else gmcn.ops.reference


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny tensors: threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
