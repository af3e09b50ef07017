"""Starts the processes of a training. Needs no torch, because the workflow imports it too."""

from __future__ import annotations

PROCESSES = ("devices", "nodes")
# How a training runs, and not what it computes: a change makes nothing run again.
HOW = (*PROCESSES, "checkpoint_minutes")


def launcher(devices: int, nodes: int, threads: int | None = None) -> str:
    """The beginning of the command, up to ``gmcn``, that starts one process per device on each node.

    ``threads`` are those of a node; several nodes take a SLURM job with as many tasks per node as devices.
    """
    if devices * nodes == 1:
        return "python -m gmcn"
    if nodes == 1:
        # torchrun takes the program's options for its own where nothing separates them.
        return f"torchrun --standalone --nproc-per-node={devices} -m -- gmcn"
    # Since SLURM 22.05 srun does not take the job's CPUs per task over: a task would have one.
    cpus = f"--cpus-per-task={cpus_per_task(threads, devices)} " if threads else ""
    return f"srun --kill-on-bad-exit=1 --nodes={nodes} --ntasks-per-node={devices} {cpus}python -m gmcn"


def cpus_per_task(threads: int, devices: int) -> int:
    """CPUs of one of a node's processes, which share its ``threads``."""
    return max(1, threads // devices)
