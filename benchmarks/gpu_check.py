"""Tries, tests and measures everything on a GPU within a budget of seconds: `make gpu-check`, or this file.

It needs torch with CUDA, lightning and pytest, and neither the internet, git nor an installed gmcn. What is worth most
comes first, and is on the disk as soon as it is known: facts about the machine; the library, carried (--library) or
built here; every kernel beside the CPU; training steps with their kernels; tests; evaluate and relu_fit; ncu;
sanitizers. A step that fails does not stop the others. The folder holds report.md, report.json and gpu_check.log; the
status is 0 if no step failed, 1 if one did, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGIN = time.monotonic()  # before torch is imported, which may take a while
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # gmcn need not be installed
import gpu_report  # noqa: E402
from gpu_machine import facts, libraries  # noqa: E402
from gpu_steps import GOOD, NO_TIME, Step, run, steps  # noqa: E402

ENDING = 8.0  # seconds of the budget that are kept to end in


class Check:
    """The results so far, and the folder for them."""

    def __init__(self, options: argparse.Namespace, results: Path, deadline: float) -> None:
        self.options, self.results, self.deadline = options, results, deadline
        self.machine: dict[str, Any] = {"device": options.device, **facts()}
        self.states: list[dict[str, Any]] = []
        self.log = options.output / "gpu_check.log"
        self.seen: list[tuple[str, int]] = []

    def write(self) -> None:
        """Both files anew, where there is something new."""
        files = [self.log, *sorted(self.results.glob("*.json")), *sorted(self.results.glob("*.md"))]
        seen = [(path.name, path.stat().st_mtime_ns) for path in files] + [(str(self.states), 0)]
        if seen != self.seen:
            log = self.log.read_text(errors="replace")
            gpu_report.write(self.options.output, self.results, self.machine, self.states, log)
            self.seen = seen

    def take(self, step: Step) -> None:
        """One step, unless there is no need of it or no time for it."""
        if any(state["step"] == step.unless and state["state"] == GOOD for state in self.states):
            return
        left = self.deadline - time.monotonic()
        limit = min(step.limit, step.share * left)
        self.states.append({"step": step.name, "state": "running", "seconds": 0.0})
        if limit < 3:
            self.states[-1]["state"] = NO_TIME
            return
        print(f"{step.name} ...", flush=True)
        self.states[-1] |= run(step, limit, self.log, self.write)
        print("    {state}, {seconds} s".format(**self.states[-1]), flush=True)
        self.machine["libraries"] = libraries(ROOT / "gmcn")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "gpu-check", help="folder of the results")
    parser.add_argument("--seconds-at-most", type=float, default=570, help="for everything together")
    parser.add_argument(
        "--library", type=Path, help="folder of libraries that were built elsewhere, instead of building"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the same steps without a GPU")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU on this machine; run it on one that has a GPU.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what it started ends, too
    options.output = options.output.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "gpu_check.log").write_text("")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(options, Path(folder), BEGIN + options.seconds_at_most - ENDING)
        check.machine["torch"] = f"{torch.__version__}, CUDA {torch.version.cuda}"
        check.machine["libraries"] = libraries(ROOT / "gmcn")
        check.write()
        try:
            for step in steps(options.device, check.results, options.library, check.machine["card"].get("compute_cap")):
                check.take(step)
                check.write()
        finally:
            check.write()
    print(gpu_report.table(check.states))
    print(f"{time.monotonic() - BEGIN:.0f} s. The results are in {options.output}.")
    return int(any(state["state"].startswith("FAILED") for state in check.states))


if __name__ == "__main__":
    sys.exit(main())
