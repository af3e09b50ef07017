"""The CUDA files compile, and how many registers they take; no GPU is needed for that."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch.utils import cpp_extension

from tests.conftest import ROOT
from tests.csrc.conftest import in_one_file

NVCC = shutil.which("nvcc")
FLAGS = ["-std=c++20", "-ftz=true", "--expt-relaxed-constexpr", "-DUSE_CUDA", "-Xptxas", "-v"]
FLAGS += ["-DTORCH_TARGET_VERSION=0x020b000000000000"]
SOURCES = sorted((ROOT / "csrc").rglob("*.cu"))

pytestmark = pytest.mark.skipif(NVCC is None, reason="needs nvcc")


def compile_one(source: Path, folder: Path, architecture: str, *flags: str) -> str:
    """The compiler's output; fails if it refuses the file."""
    command = [NVCC, *FLAGS, *flags, f"-arch={architecture}", "-c", source, "-o", folder / f"{source.stem}.o"]
    includes = [f"-I{path}" for path in cpp_extension.include_paths()]
    done = subprocess.run([*command, *includes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def compile_all(architecture: str, folder: Path) -> str:
    with ThreadPoolExecutor(2) as pool:
        return "".join(pool.map(lambda source: compile_one(source, folder, architecture, "-O3"), SOURCES))


def test_every_operation_has_cuda_code():
    registered = set(re.findall(r'm\.impl\("(\w+)"', "".join(source.read_text() for source in SOURCES)))
    # whose plain-torch twins run on CUDA
    fits = {"kmeans_start", "lloyd", "em", "shares", "best_scores", "best_and_shares", "sums_by_winner", "largest_rows"}
    fits |= {"pose_overlaps", "ascend_poses"}  # of a few kilobytes, on the CPU always
    assert registered == set(re.findall(r'"(\w+)\(Tensor', (ROOT / "csrc/library.cpp").read_text())) - fits


def test_all_files_compile(tmp_path):
    together = tmp_path / "all.cu"
    together.write_text(in_one_file(SOURCES))
    helped = subprocess.run([NVCC, "--help"], capture_output=True, text=True, check=True).stdout
    compile_one(together, tmp_path, "sm_90", "-O0", *(["-Ofc", "max"] if "--Ofast-compile" in helped else []))


@pytest.mark.slow
def test_the_hot_loops_over_pairs_keep_everything_in_registers(tmp_path):
    log = compile_all("sm_90", tmp_path)
    usage = re.findall(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores", log, re.DOTALL)
    loops = r"_pairsIfLi3ELi\dELi4|of_gaussiansIfLi3|sums_at_nodesIfLi3|make_nodesIfLi3"
    hot = {name: int(spilled) for name, spilled in usage if re.search(loops, name)}
    assert len(hot) >= 11
    assert set(hot.values()) == {0}, hot


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_every_architecture_optimised(architecture, tmp_path):
    compile_all(architecture, tmp_path)
