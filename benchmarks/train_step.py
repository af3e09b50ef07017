"""Whole training steps.

The task: one step (forward, backward, Adam, kernel decay) of the paper's five-layer network for ModelNet10, float32, on
random mixtures of 128 Gaussians. Pairs: what the dense fits evaluate forward, 802.8 M per shape at all centres, fewer
where fit_at chooses nodes. Peak: of tensors that torch holds (on the CPU beside network and Adam's moments), over
appendix A's minimum without fusing; resident: what a process of its own grows by in one step (the peak of its resident
memory).
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, progress, random_mixture, report, save, table
from measuring import peak_of, remarked, seconds_of

from gmcn.artifacts import write_text
from gmcn.results.allocations import peak_of_allocations
from gmcn.results.footprint_theory import theoretical_footprint
from gmcn.results.measured_memory import training_step

NETWORK = {"layers": [[8, 64], [16, 32], [32, 16], [64, 8]], "classes": 10, "dim": 3, "seed": 0}
SMALL = {"layers": [[2, 8]], "classes": 10, "dim": 3, "seed": 0}
COMPONENTS = 128
LARGEST = 25  # rows of a profile


def measure(
    network: dict[str, Any], batch: int, options: Namespace, *, time_only: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of one batch size, and its profile."""
    progress(f"training step, {_name(network, batch)}, {options.threads} threads")
    mixture = random_mixture(batch, COMPONENTS, device=options.device, positive=True)
    labels = (torch.arange(batch) % 10).to(options.device)
    theory = theoretical_footprint(network, components=COMPONENTS, batch_size=batch, fused=False)
    pairs = sum(
        batch * layer["F_o"] * layer["F_i"] * layer["N_i"] * layer["N_k"] * layer["N_o"] for layer in theory["layers"]
    )
    row: dict[str, Any] = {"batch": batch, "fit_at": network["fit_at"] or "exact", "threads": options.threads}
    row |= dict.fromkeys(("seconds", "ms/shape", "shapes/s", "G pairs/s", "peak, MiB"))
    operations: list[dict[str, Any]] = []
    with remarked(row, options):
        step = training_step(network, mixture, labels)
        seconds = seconds_of(step, options)
        row |= {"seconds": seconds, "ms/shape": 1e3 * seconds / batch, "shapes/s": batch / seconds}
        row |= {"G pairs/s": pairs / seconds / 1e9}
        if time_only:
            return row, operations
        operations = profile(step, options)
        if options.device == "cuda":  # where they add up to less than the step, the GPU waits
            row |= {"kernels, ms": sum(operation["ms"] for operation in operations)}
        peak = tensor_peak(step, options)
        row |= {"peak, MiB": peak / 2**20, "minimum, MiB": theory["bytes"] / 2**20, "ratio": peak / theory["bytes"]}
        row |= {"resident, MiB": None if options.device == "cuda" else resident(network, batch, options)}
    return row, operations


def resident(network: dict[str, Any], batch: int, options: Namespace) -> float:
    """MiB that :func:`once` says, in a process of its own: memory that others have freed would hide some."""
    command = [sys.executable, __file__, "--once", "--threads", str(options.threads), "--batch", str(batch)]
    command += ["--fit-at", str(network["fit_at"] or 0), *(["--smoke"] if options.smoke else [])]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def tensor_peak(step: Callable[[], None], options: Namespace) -> int:
    if options.device == "cpu":
        return peak_of_allocations(step)
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def profile(step: Callable[[], None], options: Namespace) -> list[dict[str, Any]]:
    """The operations of one step by the time that they themselves take, and the rest in one row."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if options.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        if options.device == "cuda":
            torch.cuda.synchronize()
    field = "self_device_time_total" if options.device == "cuda" else "self_cpu_time_total"
    calls: dict[str, int] = defaultdict(int)
    times: dict[str, float] = defaultdict(float)  # in microseconds
    for event in profiler.key_averages():
        # On the GPU kernels alone: operations that launch them, and what spans many, would count the same time again.
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
        if options.device == "cpu" or is_kernel:
            if not event.key.startswith("GeneratedBackwardFor"):  # they surround the operations, which count
                calls[_short(event.key)] += event.count
            times[_short(event.key)] += getattr(event, field)
    total = sum(times.values()) or 1

    def row(name: str, calls: int, time: float) -> dict[str, Any]:
        return {"operation": name, "calls": calls, "ms": time / 1e3, "share": f"{time / total:.1%}"}

    names = sorted(times, key=lambda name: -times[name])
    rest = names[LARGEST:]
    rows = [row(name, calls[name], times[name]) for name in names[:LARGEST]]
    return [*rows, row("everything else", sum(calls[name] for name in rest), sum(times[name] for name in rest))]


def _name(network: dict[str, Any], batch: int) -> str:
    return f"batch {batch}" + (f", fit_at {network['fit_at']}" if network["fit_at"] else "")


def _short(name: str) -> str:
    """A kernel's or operation's name without its arguments; what torch derives from ours by its own name."""
    if derived := re.fullmatch(r"GeneratedBackwardFor_gmcn_(\w+)_default(Backward)?", name):
        return f"gmcn::{derived[1]}{'_backward' if derived[2] else ''}"
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ").split("(")[0]
    return name if len(name) <= 90 else name[:87] + "..."


def once(network: dict[str, Any], batch: int, options: Namespace) -> None:
    """One step for a profiler that looks between cudaProfilerStart and Stop (ncu --profile-from-start off).

    On the CPU: prints by how many MiB the peak of the process's resident memory grows in one step.
    """
    labels = (torch.arange(batch) % 10).to(options.device)
    step = training_step(network, random_mixture(batch, COMPONENTS, device=options.device, positive=True), labels)
    if options.device == "cpu":
        print(peak_of(step, options))  # not by getrusage, whose maximum a process inherits from its parent
        return
    step()
    with torch.cuda.profiler.profile():
        step()
        torch.cuda.synchronize()


def main() -> None:
    batches = ("--batch", {"type": int, "nargs": "+", "default": [4, 21], "help": "shapes per step (default: 4 21)"})
    single = (
        "--once",
        {"action": "store_true", "help": "one step: for ncu after one to warm up; on the CPU its memory"},
    )
    words = "the network's option fit_at, 0: the exact dense fit (default: 0 4 2 1)"
    nodes = {"type": int, "nargs": "+", "default": [0, 4, 2, 1], "help": words}
    counts = {"type": int, "nargs": "+", "help": "measure with each of these numbers of threads (default: --threads)"}
    options = arguments(__doc__, batches, ("--fit-at", nodes), ("--each-threads", counts), single)
    if options.smoke:
        options.batch, options.fit_at = options.batch[:1], options.fit_at[:2]
    networks = [(SMALL if options.smoke else NETWORK) | {"fit_at": fit_at or None} for fit_at in options.fit_at]
    if options.once:
        once(networks[0], options.batch[0], options)
        return
    rows, profiles, text = [], {}, ""
    for network, batch in itertools.product(networks, options.batch):
        counts = options.each_threads or [options.threads]
        for threads in counts:
            torch.set_num_threads(threads)
            own = Namespace(**{**vars(options), "threads": threads})
            row, operations = measure(network, batch, own, time_only=threads != counts[0])
            rows.append(row)
            if operations:
                profiles[_name(network, batch)] = operations
                text += f"Operations of one training step, {_name(network, batch)}, by their own time\n\n"
                text += table(("operation", "calls", "ms", "share"), operations) + "\n\n"
            save("train_step", __doc__, rows, options, profiles=profiles)
            write_text(options.output / "train_step_profile.md", text)
    report("train_step", __doc__, rows, options, profiles=profiles)
    print(text)


if __name__ == "__main__":
    main()
