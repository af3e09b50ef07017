"""The formulas of csrc/common compile for the GPU; no GPU is needed for that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
def test_formulas_compile_for_the_device(tmp_path):
    source = Path(__file__).parent / "common.cu"
    command = [NVCC, "-std=c++20", "-arch=sm_80", "-c", source, "-o", tmp_path / "common.o", "-I", ROOT / "csrc/common"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
