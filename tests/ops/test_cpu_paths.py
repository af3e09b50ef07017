"""The same operations on every instruction set of this machine; the variable is for tests only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from gmcn import _inspect
from gmcn.artifacts import load_tensors
from tests.conftest import ROOT

SHARES = "tests/fitting/test_shares.py"
EVERYTHING = ("-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/ops", SHARES, f"--ignore={__file__}")


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


NODES = """
import sys, torch
from gmcn.artifacts import save_tensors
from tests.ops.test_convolve_relu_nodes import inputs
torch.set_num_threads(int(sys.argv[2]))
names = ("weights", "positions", "covariances", "mass", "f", "g", "group")
found = {}
for dtype in (torch.float32, torch.float64):
    data, kernels = (value.to(dtype) for value in inputs(3, components=64))
    for name, tensor in zip(names, torch.ops.gmcn.convolve_relu_nodes(*data, *kernels, 64)):
        found[f"{name} {dtype}"] = tensor
save_tensors(sys.argv[1], found, {})
"""


def test_every_path_and_number_of_threads_cuts_the_same_nodes(tmp_path):
    """Sums over lanes round in another order; what components meet must not depend on it, nor on threads anything."""
    found = {}
    for path in ("avx512", "avx2", "baseline"):
        for threads in ("1", "3"):
            file = tmp_path / f"{path}{threads}.safetensors"
            done = run(path, sys.executable, "-c", NODES, str(file), threads)
            if "is not a code path of this machine" in done.stderr:
                continue
            assert done.returncode == 0, done.stderr
            found[path, threads] = load_tensors(file)[0]
    wanted = found["baseline", "1"]
    for (path, _), tensors in found.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, found[path, "1"][name]), (path, name)
            if name.startswith("group"):
                assert torch.equal(tensor, wanted[name]), (path, name)
            else:
                torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-5)


def test_an_unknown_path_is_refused_with_the_known_ones():
    done = run("sse9", sys.executable, "-c", "from gmcn import _inspect; _inspect.cpu_path()")
    assert "GMCN_CPU_PATH=sse9 is not a code path of this machine (avx512, avx2, baseline)" in done.stderr
    assert _inspect.cpu_path() in ("avx512", "avx2", "baseline")
