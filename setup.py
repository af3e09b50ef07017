"""Builds the kernels: one library of torch operations on the stable ABI, and a small pybind11 module.

The library needs no particular version of Python or torch (2.11 or newer); build with --no-build-isolation, so that
pip does not download another torch.
"""

import os
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).parent
TORCH_2_11 = "0x020b000000000000"
FLAGS = [
    "-O3",
    "-std=c++20",
    "-Wall",
    # Three licences that change no result of ours: fused multiply-add, no errno, no traps. Never -ffast-math.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-g0",
]
# GMCN_SANITIZE=address or thread: what `make sanitize` builds beside the installed library.
SANITIZERS = {
    "": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
SANITIZE = SANITIZERS[os.environ.get("GMCN_SANITIZE", "")]
FLAGS += [*SANITIZE, "-O1", "-g1", "-fno-omit-frame-pointer"] if SANITIZE else []


def sources(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


headers = sources("csrc/**/*.h")
kernels = CppExtension(
    "gmcn._kernels",
    [path for path in sources("csrc/**/*.cpp") if path != "csrc/inspect.cpp"],
    depends=headers,
    extra_compile_args=[*FLAGS, f"-DTORCH_TARGET_VERSION={TORCH_2_11}"],
    extra_link_args=SANITIZE,
    py_limited_api=True,
)
inspect = Pybind11Extension(
    "gmcn._inspect", ["csrc/inspect.cpp"], depends=headers, extra_compile_args=FLAGS, extra_link_args=SANITIZE
)

setup(ext_modules=[kernels, inspect], cmdclass={"build_ext": BuildExtension})
