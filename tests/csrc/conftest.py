"""The CUDA kernels on machines without a GPU: compiled for the CPU with cuda_on_cpu.h, as torch.ops.gmcn_emulated."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
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
    sources = sorted(CSRC.rglob("*.cu"))
    read = [CSRC / "library.cpp", *sources, *sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cuh")])]
    text = "".join(file.read_text() for file in (*read, Path(__file__).with_name("cuda_on_cpu.h")))
    key = hashlib.sha256((text + torch.__version__ + repr(FLAGS)).encode()).hexdigest()[:16]
    library = folder / f"emulated-{key}.so"
    if not library.exists():
        together, temporary = folder / "all.cpp", folder / f"{os.getpid()}.so"
        together.write_text(in_one_file([CSRC / "library.cpp", *sources]))
        includes = [f"-I{path}" for path in (Path(__file__).parent, *cpp_extension.include_paths())]
        libraries = [f"-L{path}" for path in cpp_extension.library_paths()]
        run("-shared", together, "-o", temporary, *FLAGS, *STABLE, *includes, *libraries, "-ltorch_cpu", "-lc10")
        temporary.replace(library)
    return library


def in_one_file(sources: Sequence[Path]) -> str:
    """All sources, each in its own namespace: what they include takes most of the time to compile."""
    first: dict[str, None] = {}  # in order
    parts = []
    for number, source in enumerate(sources):
        for mark, name in re.findall('^#include ([<"])(.+)[>"]$', source.read_text(), re.MULTILINE):
            first[f'#include "{source.parent / name}"' if mark == '"' else f"#include <{name}>"] = None
        parts.append(f'namespace file{number} {{ namespace gmcn {{ using namespace ::gmcn; }}\n#include "{source}"\n}}')
    return "\n".join([*first, *parts])


def run(*arguments: object) -> None:
    compiler = os.environ.get("CXX", "g++").split()
    done = subprocess.run([*compiler, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise AssertionError(f"{arguments}: {done.stderr[-3000:]}")
