"""A plugin for pytest on a GPU (-p benchmarks.gpu_pytest): what failed is told at once, not at the end.

A kernel that wrote where it may not leaves the GPU unusable to its process, and every later test would fail too: a
worker of pytest-xdist then ends, and another one goes on with the next test.
"""

from __future__ import annotations

import os
import sys

import pytest
import torch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> pytest.TestReport:
    report = yield
    if report.failed:
        # Not on the standard output, which a worker speaks to pytest by.
        print(f"\n===== {report.nodeid} ({report.when})\n{report.longreprtext}", file=sys.__stderr__, flush=True)
        if "PYTEST_XDIST_WORKER" in os.environ and _unusable():
            print(f"===== the GPU is unusable after {report.nodeid}", file=sys.__stderr__, flush=True)
            os._exit(66)
    return report


def _unusable() -> bool:
    try:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
