"""A week of a cluster in minutes: what goes wrong there changes neither a weight nor a record."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gmcn.artifacts import load_tensors
from tests.workflow.cluster import Cluster, missing, wait_for
from tests.workflow.conftest import Checkout

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

TARGET = "results/digits_smoke.json"
EPOCHS, BATCHES = 20, 5
CONFIG = f"""
variants: {{smoke: {{seeds: [0, 1], training: {{epochs: {EPOCHS}, batch_size: 21, early_batches: {BATCHES}}}}}}}
"""
# As a user does it, but for the patience, and for the threads, on which sums depend in their last bits.
SLURM = (
    "--profile", "workflow/profiles/slurm", "--slurm-init-seconds-before-status-checks", "2",
    "--slurm-keep-successful-logs", "--latency-wait", "10", "--max-threads", "1",
)  # fmt: skip


class Workflow:
    """Snakemake at work in the background; a context, which does not leave it there."""

    def __init__(self, checkout: Checkout, *arguments: str, target: str):
        self.log = checkout.folder / "snakemake.txt"
        with open(self.log, "w") as file:
            self.process = checkout.start(*arguments, targets=(target,), config=CONFIG, output=file)

    def __enter__(self) -> Workflow:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def text(self) -> str:
        return self.log.read_text()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something that has to come before Snakemake ends."""

        def holds() -> Any:
            assert self.process.poll() is None, f"ended before {what}:\n{self.text}"
            return condition()

        wait_for(holds, what)

    def finish(self) -> None:
        assert self.process.wait(timeout=1800) == 0, self.text


@dataclass
class Week:
    """A workflow to which everything happened, and the same one on this machine alone."""

    checkout: Checkout
    local: Checkout
    cluster: Cluster
    jobs: list[list[str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started
    assert missing() is None, "its links are still there"


@pytest.fixture(scope="module")
def week(pristine, cluster, tmp_path_factory) -> Week:
    """The whole workflow: too little memory for the fit, SLURM away, one training killed, one at its time limit."""
    folder = tmp_path_factory.mktemp("week")
    local, checkout = (Checkout(folder / name) for name in ("local", "cluster"))
    for copy in (local, checkout):
        shutil.copytree(pristine.folder, copy.folder, symlinks=True)
    set_resources(checkout, "fit", mem_mb="60 if attempt == 1 else 4000")
    with (
        Workflow(local, "--cores", "1", "--resources", "gpu=0", target=TARGET) as reference,
        Workflow(checkout, *SLURM, target=TARGET) as workflow,
    ):
        workflow.until(lambda: sum(hold(checkout, seed) for seed in (0, 1)) == 2, "two epochs of both seeds")
        os.kill(process_of(checkout, 0), signal.SIGKILL)
        cluster.end("slurmctld", signal.SIGKILL)
        workflow.until(lambda: "SLURM does not answer" in workflow.text, "the loss of the controller to be noticed")
        cluster.start("slurmctld")
        job = job_of(process_of(checkout, 1))
        workflow.until(lambda: cluster.done("scontrol", "update", f"JobId={job}", "TimeLimit=1"), "a time limit")
        workflow.finish()
        reference.finish()
        return Week(checkout, local, cluster, cluster.jobs("%i|%T|%m|%k"))


def set_resources(checkout: Checkout, rule: str, **resources: Any) -> None:
    """Edit the profile; on the command line, --set-resources would replace all that the profile says of any rule."""
    path = checkout.folder / "workflow/profiles/slurm/profile.yaml"
    profile = yaml.safe_load(path.read_text())
    profile["set-resources"].setdefault(rule, {}).update(resources)
    path.write_text(yaml.safe_dump(profile))


def process_of(checkout: Checkout, seed: int) -> int | None:
    """The process that trains a seed, wherever SLURM started it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_text().split("\0")
            ours = (folder / "cwd").readlink() == checkout.folder
            if ours and words[1:4] == ["-m", "gmcn", "train"] and words[words.index("--seed") + 1] == str(seed):
                return int(folder.name)
    return None


def job_of(process: int) -> str:
    variables = Path(f"/proc/{process}/environ").read_text().split("\0")
    return next(line.partition("=")[2] for line in variables if line.startswith("SLURM_JOB_ID="))


def hold(checkout: Checkout, seed: int) -> bool:
    """Whether a training has had two epochs; it is then kept from ending, until SLURM wakes it up to ask it to go."""
    history = seed_folder(checkout, seed) / "history.csv"
    process = process_of(checkout, seed)
    if process is None or not history.is_file() or history.read_text().count("\n") < 3:
        return False
    os.kill(process, signal.SIGSTOP)
    return True


def seed_folder(checkout: Checkout, seed: int) -> Path:
    return checkout.folder / f"results/runs/digits_smoke/seed{seed}"


def training_of(checkout: Checkout, seed: int) -> dict:
    return json.loads((seed_folder(checkout, seed) / "training.json").read_text())


def same_weights(one: Checkout, other: Checkout, seed: int) -> bool:
    first, second = (load_tensors(seed_folder(checkout, seed) / "model.safetensors")[0] for checkout in (one, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def check_continued(checkout: Checkout, seed: int) -> None:
    """Two attempts, one run, no step missing or twice."""
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{checkout.folder / 'results/mlflow.db'}")
    training = training_of(checkout, seed)
    assert training["resumed"] == 1
    run = client.get_run(training["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["gmcn.resumed"] == "true"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == list(range(1, EPOCHS * BATCHES + 1))


def jobs_of(week: Week, rule: str) -> list[list[str]]:
    return [job for job in week.jobs if rule in job[3]]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_weights_are_those_of_an_undisturbed_local_training(week, seed):
    assert training_of(week.checkout, seed)["threads"] == training_of(week.local, seed)["threads"] == 1
    assert same_weights(week.checkout, week.local, seed)


def test_the_result_is_the_local_one(week):
    there, here = (json.loads((checkout.folder / TARGET).read_text()) for checkout in (week.checkout, week.local))
    for key in ("accuracy", "settings", "dataset", "variant"):
        assert there[key] == here[key], key


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_and_a_timed_out_training_continue_under_their_runs(week, seed):
    check_continued(week.checkout, seed)


def test_a_next_attempt_gets_more_memory(week):
    assert [job[2] for job in jobs_of(week, "rule_fit")] == ["60M", "4000M"]
    job, state = jobs_of(week, "rule_fit")[0][:2]
    assert state in ("FAILED", "OUT_OF_MEMORY")
    (log,) = (week.checkout.folder / ".snakemake/slurm_logs/rule_fit").rglob(f"{job}.log")
    assert "exceeded memory limit" in log.read_text()
    memory = [int(job[2].removesuffix("M")) for job in jobs_of(week, "rule_train")]
    # The one that was asked to leave has used up no attempt. The executor adds a little to arrays.
    assert sorted(round(value / 16000) for value in memory) == [1, 1, 1, 2]


def test_seeds_are_an_array_and_short_jobs_one_job(week):
    first = [job for job in jobs_of(week, "rule_train") if job[1] != "COMPLETED"]
    assert sorted(job[0].partition("_")[2] for job in first) == ["1", "2"]
    assert sorted(job[1] for job in first) == ["FAILED", "TIMEOUT"]
    assert len(jobs_of(week, "evaluate_footprint_probe_summarise")) == 1


def test_training_has_a_gpu_of_slurm_and_computes_where_there_is_one(week):
    for job, *_ in jobs_of(week, "rule_train"):
        assert "gres:gpu:1" in week.cluster.say("scontrol", "show", "job", job)
    assert training_of(week.checkout, 0)["device"] == "cpu"


def test_a_preempted_training_continues_without_using_up_an_attempt(week):
    shutil.rmtree(seed_folder(week.checkout, 0))
    target = str(seed_folder(week.checkout, 0).relative_to(week.checkout.folder) / "training.json")
    set_resources(week.checkout, "train", slurm_partition="scavenge")
    cluster = week.cluster
    with Workflow(week.checkout, *SLURM, "--retries", "0", target=target) as workflow:
        workflow.until(lambda: hold(week.checkout, 0), "two epochs")
        job = job_of(process_of(week.checkout, 0))
        assert cluster.done("sbatch", "--partition=cpu", "--exclusive", "--output=/dev/null", "--wrap=true")
        # It leaves within the time of grace, which is a failure for SLURM.
        workflow.until(lambda: "Trying to restart job" in workflow.text, "preemption")
        workflow.finish()
    since = [state for number, state in cluster.jobs() if int(number.partition("_")[0]) >= int(job)]
    assert since == ["FAILED", "COMPLETED", "COMPLETED"]  # the preempted one, what preempted it, the next attempt
    assert same_weights(week.checkout, week.local, 0)
    check_continued(week.checkout, 0)


def test_a_limit_that_would_cut_arrays_is_refused(week):
    answer = week.checkout.snakemake(*SLURM, "--jobs", "2", "--forcerun", "train", targets=(TARGET,), config=CONFIG)
    assert answer.status != 0
    assert "--jobs does not go together with job arrays" in answer.text
