"""Fixtures: every operation is tested as the compiled one and as its plain-torch twin."""

from __future__ import annotations

import os

import pytest
import torch

import gmcn.ops.reference

from .compiled import compiled


@pytest.fixture(params=["compiled", "reference"])
def ops(request):
    """The module under test."""
    return compiled if request.param == "compiled" else gmcn.ops.reference


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny tensors: threads only cost. Under ThreadSanitizer they are what is tested."""
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("GMCN_TEST_THREADS", "1")))
    yield
    torch.set_num_threads(threads)
