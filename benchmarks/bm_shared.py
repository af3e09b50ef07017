"""Training steps beside other processes that want the same cores.

The task: one training step of the digits network (2D, 16 images of 16 Gaussians: many small operations) and of the
paper's five-layer network (3D, 2 shapes of 128 Gaussians: few large ones), beside none, one and two processes that
compute without end. The ways take turns, each in a process of its own: one thread; all threads, waiting as OpenMP has
it; all threads, waiting as the command `gmcn` sets it (docs/performance.md). Times are medians; "times ..." are medians
of what stands beside each other in one turn; CPU is what all threads of the process use together.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from common import arguments, progress, random_mixture, report
from train_step import COMPONENTS, NETWORK

from gmcn.results.measured_memory import training_step
from gmcn.threads import BRIEF

DIGITS = {"layers": [[8, 8], [16, 4]], "classes": 10, "dim": 2, "seed": 0}
# Network, Gaussians per object, objects per step.
TASKS = {"digits": (DIGITS, 16, 16), "paper": (NETWORK, COMPONENTS, 2)}
ONE, DEFAULT, OURS = "one thread", "as OpenMP has it", "gmcn"
BUSY = (0, 1, 2)
TURN = 0.5  # seconds
# Asks Linux to kill it together with its parent.
COMPUTE = "import ctypes\nctypes.CDLL(None).prctl(1, 9)\nprint(flush=True)\nwhile True:\n    pass"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}


def ways(options: Namespace) -> dict[str, tuple[int, dict[str, str]]]:
    """Threads and environment of each way."""
    more = {f"GOMP_SPINCOUNT={spins}": (options.threads, {"GOMP_SPINCOUNT": str(spins)}) for spins in options.spins}
    return {ONE: (1, {}), DEFAULT: (options.threads, {}), OURS: (options.threads, BRIEF), **more}


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """So many processes that compute until the block ends, or this process does, however; their ids."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_process([sys.executable, "-c", COMPUTE], ENVIRONMENT)) for _ in range(count)]
        for process in started:
            process.stdout.readline()
        yield [process.pid for process in started]


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def make_steps(task: str, seconds: float) -> None:
    """The loop of one process: steps for ``seconds`` (at least one step) whenever it reads a line."""
    network, components, batch = TASKS[task]
    mixture = random_mixture(batch, components, dim=network["dim"], positive=True)
    step = training_step(network, mixture, torch.arange(batch) % 10)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        count, began, used = 0, time.perf_counter(), time.process_time()
        while not count or time.perf_counter() - began < seconds:
            step()
            count += 1
        print((time.perf_counter() - began) / count, (time.process_time() - used) / count, flush=True)


def turns(task: str, others: int, options: Namespace) -> dict[str, list[list[float]]]:
    """Seconds and CPU seconds per step, of every way and turn."""
    found: dict[str, list[list[float]]] = {}
    with contextlib.ExitStack() as stack:
        processes = {}
        for way, (threads, environment) in ways(options).items():
            command = [sys.executable, __file__, "--steps", task, "--threads", str(threads)]
            command += ["--seconds", str(options.seconds)]
            processes[way] = stack.enter_context(_process(command, ENVIRONMENT | environment))
            found[way] = []
        for process in processes.values():
            process.stdout.readline()
        stack.enter_context(busy(others))
        for turn in range(options.turns + 1):
            for way, process in processes.items():
                print("go", file=process.stdin, flush=True)
                measured = [float(word) for word in process.stdout.readline().split()]
                if turn:  # the first one warms up
                    found[way].append(measured)
    return found


def rows(task: str, others: int, options: Namespace) -> list[dict[str, Any]]:
    """The rows of one network beside so many busy processes."""
    progress(f"{task}, beside {others} busy processes")
    found = turns(task, others, options)

    def against(way: str, rival: str) -> float:
        return median(ours[0] / theirs[0] for ours, theirs in zip(found[way], found[rival], strict=True))

    return [
        {
            "network": task,
            "beside": others,
            "way": way,
            "ms": 1e3 * median(seconds for seconds, _ in measured),
            "times one thread": against(way, ONE),
            "times OpenMP's": against(way, DEFAULT),
            "CPU ms": 1e3 * median(used for _, used in measured),
        }
        for way, measured in found.items()
    ]


def main() -> None:
    options = arguments(
        __doc__,
        ("--turns", {"type": int, "default": 20, "help": "turns of every way"}),
        ("--spins", {"type": int, "nargs": "+", "default": [], "help": "more ways: these values of GOMP_SPINCOUNT"}),
        ("--tasks", {"nargs": "+", "choices": TASKS, "default": list(TASKS), "help": "networks (default: both)"}),
        ("--beside", {"type": int, "nargs": "+", "default": BUSY, "help": "busy processes (default: 0 1 2)"}),
        ("--steps", {"metavar": "TASK", "help": "(what this script starts itself with)"}),
    )
    if options.steps:
        return make_steps(options.steps, options.seconds)
    options.device, options.seconds = "cpu", min(options.seconds, TURN)
    if options.smoke:
        options.turns, options.tasks, options.beside = 1, ["digits"], [0, 1]
    measured = [row for task in options.tasks for others in options.beside for row in rows(task, others, options)]
    report("shared", __doc__, measured, options)


if __name__ == "__main__":
    main()
