"""The same operations on every instruction set of this machine; the variable is for tests only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gmcn import _inspect
from tests.conftest import ROOT

EVERYTHING = ("-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/ops", f"--ignore={__file__}")


def run(path: str, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "GMCN_CPU_PATH": path}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["avx512", "avx2", "baseline"])
def test_the_operations_on_another_path(path):
    known = run(path, sys.executable, "-c", "from gmcn import _inspect; print(_inspect.cpu_path())")
    if known.returncode:
        pytest.skip(f"this machine has no {path}")
    assert known.stdout.strip() == path
    done = run(path, sys.executable, "-m", "pytest", *EVERYTHING)
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_unknown_path_is_refused_with_the_known_ones():
    done = run("sse9", sys.executable, "-c", "from gmcn import _inspect; _inspect.cpu_path()")
    assert "GMCN_CPU_PATH=sse9 is not a code path of this machine (avx512, avx2, baseline)" in done.stderr
    assert _inspect.cpu_path() in ("avx512", "avx2", "baseline")
