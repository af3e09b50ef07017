"""Builds the kernels: libraries of torch operations on the stable ABI, and a small pybind11 module.

The library needs no particular version of Python or torch (2.11 or newer); build with --no-build-isolation, so that
pip does not download another torch. Where torch has CUDA and nvcc is found, the CUDA kernels become a second library;
TORCH_CUDA_ARCH_LIST chooses their architectures, as everywhere with torch.
"""

import os
import re
import runpy
import shutil
import subprocess
import warnings
from pathlib import Path

import torch
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup


def find_cuda() -> None:
    """Tell torch where CUDA is: it looks around any file called nvcc, also a script that calls the real one.

    A CUDA_HOME that is set stays.
    """
    nvcc = shutil.which("nvcc")
    known = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if known or nvcc is None or (Path(nvcc).parent.parent / "include" / "cuda_runtime.h").is_file():
        return
    said = subprocess.run([nvcc, "--dryrun", "x.cu"], capture_output=True, text=True, check=False)
    if folder := re.search(r"^#\$ _HERE_=(.+)$", said.stdout + said.stderr, re.MULTILINE):
        os.environ["CUDA_HOME"] = str(Path(folder[1]).parent)


find_cuda()  # before torch's part for extensions, which looks when it is imported
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension  # noqa: E402

ROOT = Path(__file__).parent
TORCH_2_11 = "0x020b000000000000"
FLAGS = [
    "-O3",
    "-std=c++20",
    "-Wall",
    # Three relaxations that change no result of ours: fused multiply-add, no errno, no traps. Never -ffast-math.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",  # as torch's stable tensors are, which our structures hold; nobody links with us
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
# It says of which sources it was built, the kernels' included.
digest = runpy.run_path(str(ROOT / "gmcn/kernel_sources.py"))["digest"](ROOT / "csrc")
inspect = Pybind11Extension(
    "gmcn._inspect",
    ["csrc/inspect.cpp"],
    depends=sources("csrc/**/*.*"),
    define_macros=[("GMCN_SOURCES", f'"{digest}"')],
    extra_compile_args=FLAGS,
    extra_link_args=SANITIZE,
)

NVCC_FLAGS = [
    "-O3",
    "-std=c++20",
    "--expt-relaxed-constexpr",
    "-ftz=true",  # numbers below the smallest normal one count as zero, as on the CPU
    "-DUSE_CUDA",
    f"-DTORCH_TARGET_VERSION={TORCH_2_11}",
]


def cuda_kernels() -> list[CUDAExtension]:
    """The CUDA kernels, where they can be built."""
    if torch.version.cuda is None or SANITIZE:
        return []
    if CUDA_HOME is None or shutil.which("nvcc", path=str(Path(CUDA_HOME) / "bin")) is None:
        warnings.warn("torch has CUDA, but there is no nvcc: gmcn is built for the CPU alone", stacklevel=2)
        return []
    release = re.search(r"release (\d+)", subprocess.check_output([f"{CUDA_HOME}/bin/nvcc", "--version"], text=True))
    if release and release[1] != torch.version.cuda.split(".")[0]:
        warnings.warn(
            f"nvcc is of CUDA {release[1]}, torch of {torch.version.cuda}: gmcn is built for the CPU alone",
            stacklevel=2,
        )
        return []
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "7.5;8.0;8.6;8.9;9.0+PTX")
    return [
        CUDAExtension(
            "gmcn._kernels_cuda",
            sources("csrc/**/*.cu"),
            depends=[*headers, *sources("csrc/**/*.cuh")],
            extra_compile_args={"cxx": FLAGS, "nvcc": NVCC_FLAGS},
            py_limited_api=True,
        )
    ]


setup(ext_modules=[kernels, *cuda_kernels(), inspect], cmdclass={"build_ext": BuildExtension})
