"""Builds, tests and measures everything on a CUDA machine, in under ten minutes: `make gpu-check`, or this file.

It needs torch with CUDA, nvcc, setuptools, ninja, pybind11 and pytest, and neither the internet nor an installed gmcn:
the checkout is built in place, for the GPU that is there. Steps go on after one that failed. The folder then holds
report.md (states and tables), report.json (all numbers), gpu_check.log (all that was printed) and plots; the status is
0 if every step was good, 1 if not, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("evaluate", "relu_fit", "convolve_relu_fit", "reduce_treehem", "convolve_fit", "scaling")
BENCHMARKS = ("train_step", *(f"bm_{name}" for name in OPERATIONS))
TRAINING_SHAPES = 3991  # of ModelNet10
VALIDATION = 0.1  # of these are kept for validation by the variant treehem2
EPOCHS = 60


@dataclass(frozen=True)
class Step:
    """A command, the seconds that it may take, and variables of its environment."""

    name: str
    command: tuple[str, ...]
    limit: float
    variables: tuple[tuple[str, str], ...] = ()


def steps(capability: tuple[int, int], results: Path) -> Iterator[Step]:
    """All that is done, in this order: what matters most comes first, since the time is limited."""
    python = sys.executable
    architecture = (("TORCH_CUDA_ARCH_LIST", "{}.{}".format(*capability)), ("MAX_JOBS", str(os.cpu_count())))
    yield Step("nvidia-smi", ("nvidia-smi",), 30)
    yield Step("build", (python, "setup.py", "-q", "build_ext", "--inplace"), 240, architecture)
    kernels = "import gmcn.build_info as b; print(b.info()); assert b.has_cuda_kernels(), 'no CUDA kernels were built'"
    yield Step("gmcn.info", (python, "-c", kernels), 60)
    pytest = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow")
    tests = ("tests/ops", "tests/training/test_cuda.py", "--ignore=tests/ops/test_cpu_paths.py")
    yield Step("tests on the GPU", (*pytest, *_processes(), *tests), 150, (("GMCN_TEST_DEVICE", "cuda"),))
    for name in BENCHMARKS:
        more = ("--batch", "4", "21", "32") if name == "train_step" else ()
        common = ("--device", "cuda", "--seconds", "0.3", "--limit", "20", "--output", str(results))
        yield Step(name, (python, f"benchmarks/{name}.py", *common, *more), 100)
    for tool in ("memcheck", "racecheck"):
        command = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "66")
        exercise = (python, "tests/sanitizers/exercise.py")
        yield Step(f"compute-sanitizer {tool}", (*command, *exercise), 90, (("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),))


def _processes() -> tuple[str, ...]:
    try:
        import xdist  # noqa: F401
    except ImportError:
        return ()
    return ("-n", "4")


def run(step: Step, deadline: float, log: Any) -> dict[str, Any]:
    """State and seconds of one step; everything that it prints goes to the log."""
    if shutil.which(step.command[0]) is None:
        return {"step": step.name, "state": "not installed", "seconds": 0.0}
    limit = min(step.limit, deadline - time.monotonic())
    if limit < 5:
        return {"step": step.name, "state": "NO TIME LEFT", "seconds": 0.0}
    print(f"{step.name} ...", flush=True)
    log.write(f"\n===== {step.name}: {' '.join(step.command)}\n")
    log.flush()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **dict(step.variables)}
    begin = time.monotonic()
    process = subprocess.Popen(
        step.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        status = process.wait(limit)
        state = "good" if status == 0 else f"FAILED (status {status})"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        state = f"OUT OF TIME ({limit:.0f} s)"
    seconds = round(time.monotonic() - begin, 1)
    print(f"    {state}, {seconds} s", flush=True)
    return {"step": step.name, "state": state, "seconds": seconds}


def epoch_rows(results: Path) -> list[dict[str, Any]]:
    """Time per epoch of modelnet10_treehem2 from the measured step, for each batch size."""
    path = results / "train_step.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    epochs = []
    for row in rows:
        if row["seconds"]:
            count = round(TRAINING_SHAPES * (1 - VALIDATION))
            seconds = -(-count // row["batch"]) * row["seconds"]
            epochs.append({"batch": row["batch"], "s per step": row["seconds"], "s per epoch": seconds})
            epochs[-1][f"min per {EPOCHS} epochs"] = EPOCHS * seconds / 60
    return epochs


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; that of common.py needs a built gmcn."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_report(states: list[dict[str, Any]], results: Path, output: Path, machine: str) -> None:
    """One Markdown and one JSON of all that the steps left in ``results``, and the plots."""
    epochs = epoch_rows(results)
    text = [f"# gpu-check: {machine}", table(states)]
    if epochs:
        text += ["## Time per epoch", table(epochs)]
        text.append(
            "Extrapolated, not run: the measured step on random mixtures times the steps of an epoch of "
            f"modelnet10_treehem2 ({TRAINING_SHAPES:,} shapes, a tenth of them for validation); without validation, "
            "loading and saving."
        )
    for path in sorted(results.glob("*.md")):
        text += [f"## {path.stem}", path.read_text()]
    (output / "report.md").write_text("\n\n".join(text) + "\n")
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    report = {"machine": machine, "steps": states, "extrapolated_epochs": epochs, "benchmarks": found}
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    for path in [*results.glob("*.png"), *results.glob("*.svg")]:
        shutil.copy(path, output)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "gpu-check", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything together")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    import torch

    if not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU on this machine; run it on one that has a GPU.", file=sys.stderr)
        return 2
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    options.output.mkdir(parents=True, exist_ok=True)
    states: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, open(options.output / "gpu_check.log", "w") as log:
        results = Path(folder)
        for step in steps(torch.cuda.get_device_capability(), results):
            states.append(run(step, deadline, log))
            write_report(states, results, options.output, machine)  # after each: whoever stops this has something
    print(table(states))
    print(f"The results are in {options.output}.")
    return int(any(state["state"] not in ("good", "not installed") for state in states))


if __name__ == "__main__":
    sys.exit(main())
