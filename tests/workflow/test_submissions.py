"""The requests to SLURM, recorded by a `sbatch` that only writes down its arguments."""

from __future__ import annotations

import os
import re
import shutil
from types import SimpleNamespace

import pytest

from gmcn.console import LEFT
from gmcn.status import was_asked_to_leave
from tests.conftest import ROOT
from tests.workflow.conftest import Checkout

slurm = pytest.importorskip("snakemake_executor_plugin_slurm")

MIXTURES = "results/mixtures/digits_kmeans16.safetensors"
CONFIG = """
tracking: {enabled: false}
variants:
  one: {base: smoke, seeds: [0, 1]}
  gpus: {base: smoke, seeds: [0], training: {devices: 4}}
  nodes: {base: smoke, seeds: [0, 1], training: {devices: 4, nodes: 2}}
  alone: {base: smoke, seeds: [0], training: {nodes: 2}}
"""


# The array's second task runs, and fails, when the first one, of either seed, has ended.
SECOND_TASK = """
case "$*" in *--array=*)
    for call; do :; done
    seed=$(echo "$call" | sed "s/.*,seed=\\([01]\\).*/\\1/")
    first="{runs}/digits_one/seed$seed"
    mkdir -p "$first"
    touch "$first/model.safetensors" "$first/history.csv" "$first/training.json"
    SLURM_JOB_ID=2 SLURM_ARRAY_JOB_ID=1 SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=2 \\
        sh -c "${{call#--wrap=}}" > "{folder}/task" 2>&1
    ls "$first" > "{folder}/left"
    echo "$seed" > "{folder}/first"
esac
"""


@pytest.fixture(scope="module")
def submitted(pristine, tmp_path_factory) -> dict[str, list[str]]:
    """The options of every submission of a variant's trainings, and what Snakemake says at the end."""
    folder = tmp_path_factory.mktemp("submissions")
    checkout = Checkout(folder / "checkout")
    shutil.copytree(pristine.folder, checkout.folder, symlinks=True)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "sacct", "sacctmgr", "scontrol", "sinfo", "squeue"):
        run = SECOND_TASK.format(folder=folder, runs=checkout.folder / "results/runs") if name == "sbatch" else ""
        (programs / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{folder}/{name}"\n{run}\nexit 1\n')
        (programs / name).chmod(0o755)
    points = "results/points/digits.safetensors"
    checkout.pretend(MIXTURES, files=[points, MIXTURES, MIXTURES.replace("safetensors", "json")], config=CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        answer = checkout.snakemake(
            *(
                "--profile",
                "workflow/profiles/slurm",
                "--retries",
                "0",
                "--slurm-init-seconds-before-status-checks",
                "1",
            ),
            targets=tuple(
                f"results/runs/digits_{variant}/seed{seed}/training.json"
                for variant, seeds in {"one": (0, 1), "gpus": (0,), "nodes": (0, 1), "alone": (0,)}.items()
                for seed in seeds
            ),
            config=CONFIG,
        )
    assert "Continue with: snakemake" in answer.text, answer.text
    calls: dict[str, list[str]] = {"shell": [answer.text]}
    for name in ("srun", "task", "left", "first"):
        calls[name] = (folder / name).read_text().splitlines()
    for line in (folder / "sbatch").read_text().splitlines():
        calls.setdefault(re.search(r"wildcards_digits_(\w+)_\d", line)[1], []).append(line)
    return calls


def options(call: str) -> dict[str, str]:
    """The options about nodes, tasks, CPUs, GPUs and arrays."""
    names = "nodes|ntasks|ntasks-per-node|ntasks-per-gpu|cpus-per-task|gpus|array"
    return dict(re.findall(rf"--({names})=(\S+)", call.partition("--wrap")[0]))


ONE = {"nodes": "1", "cpus-per-task": "16", "gpus": "1", "array": "1-2"}  # both seeds
GPUS = {"nodes": "1", "cpus-per-task": "16", "gpus": "4"}
NODES = {"nodes": "2", "ntasks-per-node": "4", "cpus-per-task": "4", "gpus": "8"}
ALONE = {"nodes": "2", "ntasks": "2", "cpus-per-task": "16", "gpus": "2"}


@pytest.mark.parametrize(
    ("variant", "expected"), [("one", [ONE]), ("gpus", [GPUS]), ("nodes", [NODES, NODES]), ("alone", [ALONE])]
)
def test_a_submission_asks_for_all_devices_and_divides_the_cpus(submitted, variant, expected):
    assert [options(call) for call in submitted[variant]] == expected


def test_tasks_have_the_cpus_that_were_asked_for_them(submitted):
    (text,) = submitted["shell"]
    assert "srun --kill-on-bad-exit=1 --nodes=2 --ntasks-per-node=4 --cpus-per-task=4 python -m gmcn train" in text
    assert "srun --kill-on-bad-exit=1 --nodes=2 --ntasks-per-node=1 --cpus-per-task=16 python -m gmcn train" in text
    assert "torchrun --standalone --nproc-per-node=4 -m -- gmcn train" in text


def test_a_failed_task_of_an_array_leaves_the_files_of_the_others(submitted):
    """The executor (2.8.0) would delete those of the array's first job, whichever task fails."""
    assert submitted["left"] == ["history.csv", "model.safetensors", "training.json"]
    (call,) = submitted["srun"]
    (first,) = submitted["first"]
    assert f"--target-jobs train:dataset=digits,variant=one,seed={1 - int(first)} " in call
    assert not any(f"Training one on digits, seed {first}" in line for line in submitted["task"])


@pytest.mark.parametrize(
    ("words", "message", "counted"),
    [
        (f"epoch 1\nstopped{LEFT}last.ckpt\n", "job 3 failed", False),
        (f"epoch 1\nstopped{LEFT}last.ckpt\n", "job 3 was CANCELLED", True),
        ("gmcn: error: no memory\n", "job 3 failed", True),
        # It failed before it wrote anything, after an attempt that had left.
        (f"stopped{LEFT}last.ckpt\nthe next attempt goes on from there\n", "job 3 failed", True),
    ],
)
def test_an_attempt_that_was_asked_to_leave_is_not_counted(tmp_path, monkeypatch, words, message, counted):
    log = tmp_path / "train.log"
    log.write_text(words)
    told = []
    # What the rules replace, so that it comes back after the test.
    for name in ("check_active_jobs", "run_jobs"):
        monkeypatch.setattr(slurm.Executor, name, getattr(slurm.Executor, name))
    monkeypatch.setattr(slurm.Executor, "report_job_error", lambda executor, info, msg=None: told.append(msg))
    exec(compile((ROOT / "workflow/rules/slurm.smk").read_text(), "slurm.smk", "exec"), {})
    job = SimpleNamespace(log=[log], attempt=2)
    slurm.Executor.report_job_error(None, SimpleNamespace(job=job), message)
    assert told == [message]
    assert job.attempt == (2 if counted else 1)
    assert not was_asked_to_leave(log)
