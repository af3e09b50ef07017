"""Describes a machine: tools, versions, card, and the paths of the programs that the steps of gpu_check run."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

from gmcn.artifacts import git_commit, key_of, sha256

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("python3", "nvcc", "ninja", "ncu", "compute-sanitizer", "nvidia-smi", "g++")
PACKAGES = ("torch", "triton", "lightning", "torchmetrics", "safetensors", "numpy", "scikit-learn", "rich", "pyyaml")
PACKAGES += ("setuptools", "ninja", "pybind11", "pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "matplotlib")
CARD = ("name", "compute_cap", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.max.sm")
CARD += ("clocks.max.mem", "power.limit", "mig.mode.current", "utilization.gpu")


def search_path() -> str:
    """PATH with the folders first that hold what belongs to this Python, whatever it is called by, and CUDA's."""
    folders = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), "/usr/local/cuda/bin"]
    return os.pathsep.join([*dict.fromkeys(folders), os.environ.get("PATH", os.defpath)])


def facts() -> dict[str, Any]:
    """All by name; what cannot be found out is missing. Starts no work on the GPU."""
    found: dict[str, Any] = {"python": f"{platform.python_version()}, {sys.executable}"}
    found["tools"] = {tool: _said("which", "-a", tool).split() for tool in TOOLS}
    found["card"] = _card()
    found["nvcc"] = _said("nvcc", "--version").strip().splitlines()[-1:]
    found["cores"] = len(os.sched_getaffinity(0))
    found["load"] = os.getloadavg()
    with contextlib.suppress(OSError):
        found["memory"] = Path("/proc/meminfo").read_text().splitlines()[0]
        names = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
        found["cpu"] = next(names, platform.processor()).split(":")[-1].strip()
    found["commit"] = git_commit()
    files = sorted(path for folder in ("csrc", "gmcn") for path in (ROOT / folder).rglob("*") if path.is_file())
    code = [path for path in files if path.suffix in (".py", ".h", ".cuh", ".cpp", ".cu")]
    found["code"] = key_of(*((str(path.relative_to(ROOT)), sha256(path)) for path in code))
    found["versions"] = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found["versions"][package] = metadata.version(package)
    return found


def libraries(folder: Path) -> dict[str, str]:
    """The compiled libraries in a folder, each with its size and the start of its SHA-256."""
    paths = sorted(folder.glob("_*.so"))
    return {path.name: f"{path.stat().st_size:,} bytes, {sha256(path)[:12]}" for path in paths}


def _card() -> dict[str, str]:
    answer = _said("nvidia-smi", f"--query-gpu={','.join(CARD)}", "--format=csv,noheader", "--id=0").strip()
    values = [value.strip() for value in answer.split(",")]
    return dict(zip(CARD, values, strict=True)) if len(values) == len(CARD) else {}


def _said(*command: str) -> str:
    """The output of a program; empty if it is missing, fails or takes too long."""
    environment = {**os.environ, "PATH": search_path()}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
