"""The whole workflow, killed, doubled or with a wrong clock: what is finished stays, and the next start goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gmcn.running import forget_future, running

pytestmark = pytest.mark.faults

TRAINING = "results/runs/solids10_smoke/seed0/training.json"
LOG = "results/logs/train/solids10_smoke_seed0.log"
LONG = """
datasets: {solids10: {train_per_class: 4, test_per_class: 1, points: 64}}
variants: {smoke: {training: {epochs: 30, batch_size: 2, early_batches: 10}}}
tracking: {enabled: false}
"""


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, "it ended before it could be disturbed"
        time.sleep(0.1)


@pytest.fixture
def outliving() -> Iterator[list[int]]:
    """Processes that must not outlive the test as well."""
    processes: list[int] = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_workflow_goes_on_but_not_beside_a_job_that_outlived_it(checkout, outliving):
    first = checkout.start("--cores", "2", targets=(TRAINING,), config=LONG)
    log = checkout.folder / LOG
    wait_for(lambda: log.is_file() and "epoch 2 of 30" in log.read_text(), first)
    outlived = running(log)["pid"]
    outliving.append(outlived)
    os.kill(outlived, signal.SIGSTOP)  # so that it does not end before the new workflow meets it
    second = checkout.snakemake("--cores", "2", targets=(TRAINING,), config=LONG)
    assert second.status != 0
    assert "Another workflow runs in this folder" in second.text

    first.kill()
    first.wait()
    fitted = (checkout.folder / "results/mixtures/solids10_kmeans16.safetensors").stat().st_mtime_ns
    third = checkout.snakemake("--cores", "2", targets=(TRAINING,), config=LONG)
    assert third.status != 0
    assert f"train failed: the job of {LOG} still runs on" in third.text
    assert third.text.rstrip().endswith(f"Continue with: snakemake --cores 2 --configfile test.yaml -- {TRAINING}"), (
        third.text[-500:]
    )
    assert running(log)["pid"] == outlived

    os.kill(outlived, signal.SIGKILL)
    fourth = checkout.snakemake("--cores", "2", targets=(TRAINING,), config=LONG)
    assert fourth.status == 0, fourth.text
    assert "resuming from results/runs/solids10_smoke/seed0/last.ckpt" in fourth.text
    assert json.loads((checkout.folder / TRAINING).read_text())["epochs"] == 30
    assert (checkout.folder / "results/mixtures/solids10_kmeans16.safetensors").stat().st_mtime_ns == fitted


def test_dates_in_the_future_become_now_in_their_order(tmp_path):
    now = time.time()
    ages = {"mlartifacts/1": 7200.0, "points/a": 7200.0, "mixtures/b": 7300.0, "old": -100.0, "nearly": 5.0}
    for name, ahead in ages.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (now + ahead,) * 2)
    forget_future(tmp_path)
    dates = {name: (tmp_path / name).stat().st_mtime for name in ages}
    assert now - 1 < dates["points/a"] < dates["mixtures/b"] <= time.time()
    kept = ("old", "nearly", "mlartifacts/1")
    assert [dates[name] - now for name in kept] == pytest.approx([ages[name] for name in kept], abs=0.01)
    forget_future(tmp_path / "nothing")


def test_a_look_at_the_workflow_changes_no_date_and_is_no_workflow(checkout):
    points = checkout.folder / "results/points/solids10.safetensors"
    points.parent.mkdir(parents=True)
    points.touch()
    os.utime(points, (time.time() + 86400,) * 2)
    before = points.stat().st_mtime_ns
    checkout.plan(TRAINING, config=LONG)
    assert points.stat().st_mtime_ns == before
    assert not (checkout.folder / ".snakemake/gmcn.running").exists()


@pytest.mark.slow
def test_a_clock_that_was_ahead_does_not_stop_the_workflow(checkout):
    mixtures = "results/mixtures/solids10_kmeans16.safetensors"
    points = "results/points/solids10.safetensors"
    assert checkout.snakemake("--cores", "2", targets=(points,), config=LONG).status == 0
    sampled = Path(checkout.folder / points)
    os.utime(sampled, (time.time() + 86400,) * 2)
    before = sampled.read_bytes()
    answer = checkout.snakemake("--cores", "2", targets=(mixtures,), config=LONG)
    assert answer.status == 0, answer.text
    assert checkout.plan(mixtures, config=LONG) == {}
    assert sampled.read_bytes() == before
