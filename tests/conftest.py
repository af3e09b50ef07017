"""Shared by all tests."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gmcn.threads import wait_briefly

# Before any test imports torch; several processes that test share the cores.
wait_briefly()
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(autouse=True)
def _no_foreign_store(monkeypatch):
    # A developer's own MLflow server must not receive the tests' runs.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def mirror():
    """A function that gives the folder of a data set's published files, or skips the test where there is none."""

    def folder(dataset: str) -> Path:
        base = os.environ.get("GMCN_MIRROR", "")
        path = Path(base) / dataset
        if not base or not path.is_dir():
            pytest.skip(f"needs the files of {dataset}: set GMCN_MIRROR to a folder that has {dataset}/")
        return path.resolve()

    return folder
