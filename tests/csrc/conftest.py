"""The CUDA kernels on machines without a GPU: compiled for the CPU with cuda_on_cpu.h, as torch.ops.gmcn_emulated."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from tests.conftest import ROOT

CSRC = ROOT / "csrc"
SHARED_BYTES = 65536  # of shared memory, as the smallest GPU has that we build for
FLAGS = ["-O1", "-w", "-std=c++20", "-fPIC", "-ffp-contract=fast", f"-DGMCN_EMULATE={SHARED_BYTES}"]
STABLE = ["-DTORCH_TARGET_VERSION=0x020b000000000000"]


@pytest.fixture(scope="session")
def emulated():
    """The operations of the CUDA files, on CPU tensors; without autograd."""
    folder = ROOT / "build" / "emulated"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # processes that test side by side would all compile it
        library = build(folder)
    torch.ops.load_library(str(library))
    return torch.ops.gmcn_emulated


def build(folder: Path) -> Path:
    """The library, compiled anew where its sources changed."""
    includes = [f"-I{path}" for path in (Path(__file__).parent, *cpp_extension.include_paths())]
    headers = sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cuh"), Path(__file__).with_name("cuda_on_cpu.h")])
    common = "".join(file.read_text() for file in headers) + torch.__version__ + repr(FLAGS)
    sources = [CSRC / "library.cpp", *sorted(CSRC.rglob("*.cu"))]

    def compiled(source: Path) -> Path:
        key = hashlib.sha256((common + source.read_text()).encode()).hexdigest()[:16]
        target = folder / f"{source.stem}-{key}.o"
        if not target.exists():
            temporary = target.with_suffix(f".{os.getpid()}")
            run("-x", "c++", "-c", source, "-o", temporary, *FLAGS, *STABLE, *includes)
            temporary.replace(target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    key = hashlib.sha256("".join(map(str, objects)).encode()).hexdigest()[:16]
    library = folder / f"emulated-{key}.so"
    if not library.exists():
        libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
        temporary = library.with_suffix(f".{os.getpid()}")
        run("-shared", *objects, "-o", temporary, *libraries, "-ltorch_cpu", "-lc10")
        temporary.replace(library)
    return library


def run(*arguments: object) -> None:
    compiler = os.environ.get("CXX", "g++").split()
    done = subprocess.run([*compiler, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise AssertionError(f"{arguments}: {done.stderr[-3000:]}")
