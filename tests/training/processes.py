"""Processes of their own: one, or several ranks as torchrun would start them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.conftest import ROOT, free_port

# What the scripts of tests begin with: `trained(output, at)` trains, and `at` says what happens at which step.
TRAIN = """
import os, signal, sys, time
from tests.training.conftest import Recorder
from gmcn import ranks
from gmcn.training import train

def trained(mixtures, settings, output, at=None):
    return train(mixtures, settings=settings, seed=0, output=output, device="cpu", threads=1, run=Recorder(at))
"""


def start(script: str, *, ranks: int = 1, nodes: int = 1, prefix: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    """Start ``script`` in as many processes as there are ranks.

    They have the environment that torchrun gives them, or, as if each were on a node of its own, srun.
    """
    port = free_port()
    torchrun = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": ranks, "GROUP_RANK": 0}
    srun = {"STEP_ID": 0, "JOB_ID": 1, "LOCALID": 0, "NNODES": nodes, "NTASKS_PER_NODE": 1}
    srun |= dict.fromkeys(("NTASKS", "STEP_NUM_TASKS"), ranks)
    processes = []
    for rank in range(ranks):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if ranks > 1:
            own = torchrun | {"RANK": rank, "LOCAL_RANK": rank}
            if nodes > 1:
                own = {f"SLURM_{name}": value for name, value in (srun | {"PROCID": rank, "NODEID": rank}).items()}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment |= {name: str(value) for name, value in own.items()}
        processes.append(
            subprocess.Popen(
                [*prefix, sys.executable, "-c", TRAIN + textwrap.dedent(script)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def finish(processes: list[subprocess.Popen], timeout: float = 120) -> list[tuple[int, str]]:
    """Status and output of each; all are ended where one takes longer than ``timeout`` seconds."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


def run(script: str, **options) -> list[tuple[int, str]]:
    """Start, and wait."""
    return finish(start(script, **options))
