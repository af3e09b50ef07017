"""The steps of gpu_check, the most valuable first, and the function that runs one."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_machine import ROOT, search_path

KERNELS = "evaluate_pairs|gradients_of_gaussians|gradients_of_points|reduce_mixtures|prepare_gaussians"
KERNELS += "|make_nodes|sums_at_nodes"
SECTIONS = ("SpeedOfLight", "Occupancy", "WarpStateStats", "InstructionStats", "LaunchStats", "MemoryWorkloadAnalysis")
GOOD, NO_TIME = "good", "no time left"
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Step:
    """A command, the seconds that it may take (and their share of those left), and variables of its environment.

    It is started again, up to ``tries`` times in all, where it did not come to its own end with status 0 or 1. Not
    needed where the step ``unless`` was good. The failure of an ``aid`` is something to look at, not one of ours.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    share: float = 1.0
    variables: tuple[tuple[str, str], ...] = ()
    tries: int = 1
    unless: str | None = None
    aid: bool = False


def steps(device: str, results: Path, library: Path | None, capability: str | None) -> Iterator[Step]:
    """All that is done; what needs a GPU only where there is one."""
    python, on_gpu = sys.executable, device == "cuda"
    if on_gpu:
        yield Step("nvidia-smi", ("nvidia-smi",), 20, aid=True)
    if library is not None:
        yield Step("library", (python, "benchmarks/gpu_library.py", str(library.resolve()), device), 60, aid=True)
    built_for = [("MAX_JOBS", str(os.cpu_count()))]
    if not on_gpu:
        built_for.append(("CUDA_HOME", "none"))  # the CPU's library alone
    elif capability and "TORCH_CUDA_ARCH_LIST" not in os.environ:
        built_for.append(("TORCH_CUDA_ARCH_LIST", capability))
    build = (python, "setup.py", "-q", "build_ext", "--inplace")
    yield Step("build", build, 300, variables=tuple(built_for), unless="library")
    common = ("--device", device, "--output", str(results))
    yield Step("every kernel", (python, "benchmarks/gpu_exercise.py", *common), 45, 0.4, tries=3)
    common += ("--seconds", "0.3", "--limit", "15" if on_gpu else "25")
    batches = ("--batch", "4", *(("21", "64", "128") if on_gpu else ()), "--fit-at", "4", "2", "1", "0")
    yield Step("training step", (python, "benchmarks/train_step.py", *common, *batches), 100, 0.5)
    yield from _tests(device)
    for name in ("evaluate", "relu_fit"):
        yield Step(name, (python, f"benchmarks/bm_{name}.py", *common), 90, 0.6)
    if on_gpu:
        yield from _tools(python)


def _tests(device: str) -> Iterator[Step]:
    """The tests that need a GPU, then the other tests of the operations."""
    pytest = (sys.executable, "-m", "pytest", "-v", "--tb=short", "-m", "not slow", "-p", "no:cacheprovider")
    pytest += ("-p", "benchmarks.gpu_pytest")
    if importlib.util.find_spec("pytest_timeout"):
        pytest += ("--timeout", "60", "--timeout-method", "thread")
    # Also one by one in a worker, which may die and be replaced.
    parallel = importlib.util.find_spec("xdist") is not None
    one, many = (("-n", "1"), ("-n", str(min(8, os.cpu_count() or 1)))) if parallel else ((), ())
    first = ("tests/ops/test_cuda.py", "tests/training/test_cuda.py")
    others = ("tests/ops", "--ignore=tests/ops/test_cuda.py", "--ignore=tests/ops/test_cpu_paths.py")
    where = (("GMCN_TEST_DEVICE", device),)
    yield Step("tests of the GPU", (*pytest, *one, *first), 120, 0.6, where)
    yield Step("tests of the operations", (*pytest, *many, *others), 150, 0.5, where)


def _tools(python: str) -> Iterator[Step]:
    chosen = ("--clock-control", "none", "--profile-from-start", "off", "--launch-count", "30")
    chosen += ("--kernel-name-base", "function", "--kernel-name", f"regex:{KERNELS}")
    chosen += tuple(word for section in SECTIONS for word in ("--section", section))
    once = (python, "benchmarks/train_step.py", "--once", "--device", "cuda", "--batch", "21", "--fit-at")
    for name, fit_at in (("ncu, fit_at 4", "4"), ("ncu", "0")):
        yield Step(name, ("ncu", *chosen, *once, fit_at), 90, 0.5, aid=True)
    for tool in ("memcheck", "racecheck"):
        command = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "66", "--print-limit", "50")
        exercise = (python, "tests/sanitizers/exercise.py")
        yield Step(
            f"compute-sanitizer {tool}",
            (*command, *exercise),
            120,
            variables=(("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),),
            # The tree is linked without locks: what racecheck calls a hazard there need not be one.
            aid=tool == "racecheck",
        )


def run(step: Step, limit: float, log: Path, tell: Callable[[], None]) -> dict[str, Any]:
    """State and seconds of one step; all that it prints goes to the log, and ``tell`` is called while it runs."""
    environment = {**os.environ, "PATH": search_path(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment |= dict(step.variables)
    if shutil.which(step.command[0], path=environment["PATH"]) is None:
        return {"state": "not installed", "seconds": 0.0}
    begin = time.monotonic()
    for tried in range(1, step.tries + 1):
        with open(log, "a") as file:
            file.write(f"\n===== {step.name}: {' '.join(step.command)}\n")
            file.flush()
            left = limit - (time.monotonic() - begin)
            status = _status(step.command, environment, left if tried == step.tries else left / 2, file, tell)
        if status in (0, 1):
            break
    state = "FAILED" if not step.aid else "to be looked at"
    state = GOOD if status == 0 else f"OUT OF TIME ({limit:.0f} s)" if status is None else f"{state} (status {status})"
    return {"state": state, "seconds": round(time.monotonic() - begin, 1)}


def _status(
    command: tuple[str, ...], environment: dict[str, str], limit: float, file: Any, tell: Callable[[], None]
) -> int | None:
    """The exit status, or None where it took too long; then it and all that it has started are ended."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # no orphan stays if we are killed
    )
    deadline = time.monotonic() + limit
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(max(0.01, min(1.0, deadline - time.monotonic())))
            tell()
        os.killpg(process.pid, signal.SIGINT)  # pytest then says why the tests failed that have
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
