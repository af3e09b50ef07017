"""Fixtures: every operation is tested as the compiled one and as its plain-torch twin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

import gmcn.ops.reference

from .compiled import compiled


def pytest_collection_modifyitems(config, items):
    """Where lines are counted (--cov) before Python 3.12, which is slow: of each of these tests the first case only."""
    if sys.version_info >= (3, 12) or not config.pluginmanager.has_plugin("_cov"):
        return
    counted = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if item.path.parent == Path(__file__).parent and test in counted:
            item.add_marker("no_cover")
        counted.add(test)


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
