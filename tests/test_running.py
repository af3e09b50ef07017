"""Locks tell which jobs run; a lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gmcn.running
from gmcn.errors import InputError
from gmcn.running import claimed, enter_workflow, running
from tests.conftest import ROOT

pytestmark = pytest.mark.faults


@pytest.fixture
def elsewhere(tmp_path):
    """Starts a process that does something and then waits to be killed; it is over when the test is."""
    started = []

    def start(code: str) -> subprocess.Popen:
        code = f"import time\nfrom pathlib import Path\nfrom gmcn.running import *\n{code}"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


CLAIM = "with claimed(Path('job.log')):\n    print('ready', flush=True)\n    time.sleep(600)"
ENTER = "enter_workflow(Path('.snakemake'))\nprint('ready', flush=True)\ntime.sleep(600)"


def test_a_job_runs_from_its_start_to_its_end(tmp_path):
    log = tmp_path / "logs/job.log"
    assert running(log) is None
    with claimed(log):
        found = running(log)
        assert (found["host"], found["pid"]) == (platform.node(), os.getpid())
        assert "T" in found["since"]
    assert running(log) is None
    assert list(log.parent.iterdir()) == []


def test_a_job_that_still_runs_is_not_started_again(tmp_path, elsewhere):
    process = elsewhere(CLAIM)
    with pytest.raises(InputError, match=rf"job\.log still runs on .* \(process {process.pid}, since"):
        claimed(tmp_path / "job.log").__enter__()
    assert running(tmp_path / "job.log")["pid"] == process.pid


def test_a_killed_job_no_longer_runs_and_is_no_obstacle(tmp_path, elsewhere):
    process = elsewhere(CLAIM)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert json.loads((tmp_path / ".job.log.running").read_text())["pid"] == process.pid  # it left its mark
    assert running(tmp_path / "job.log") is None
    with claimed(tmp_path / "job.log"):
        assert running(tmp_path / "job.log")["pid"] == os.getpid()


def test_a_mark_that_its_owner_deletes_while_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    """Else the next one would find none."""
    original, asked = gmcn.running.lock, []

    def lock(file, *kind):
        if not asked:
            Path(file.name).unlink()
        asked.append(file)
        return original(file, *kind)

    monkeypatch.setattr(gmcn.running, "lock", lock)
    with claimed(tmp_path / "job.log"):
        assert running(tmp_path / "job.log")["pid"] == os.getpid()


def test_a_look_at_a_job_does_not_keep_it_from_starting(tmp_path):
    with open(tmp_path / ".job.log.running", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with claimed(tmp_path / "job.log"):
            pass


@pytest.fixture
def locks(tmp_path):
    """Snakemake's locks in a folder."""
    folder = tmp_path / ".snakemake/locks"
    folder.mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (folder / name).write_text("results/points/digits.safetensors\n")
    return folder


def test_locks_of_a_killed_workflow_go_and_those_of_a_living_one_stay(elsewhere, locks):
    first = elsewhere(ENTER)
    assert list(locks.iterdir()) == []  # nobody was there
    (locks / "0.output.lock").write_text("results/points/digits.safetensors\n")
    second = elsewhere(ENTER)
    first.kill()
    first.wait()
    elsewhere(ENTER).kill()
    assert len(list(locks.iterdir())) == 1  # the second still runs
    second.kill()
    second.wait()
    elsewhere(ENTER)
    assert list(locks.iterdir()) == []


def test_locks_of_another_machine_are_left_to_the_user(elsewhere, locks):
    (locks.parent / "gmcn.running").write_text("node17\n")
    elsewhere(ENTER)
    assert len(list(locks.iterdir())) == 2


def test_a_workflow_in_a_new_folder(tmp_path):
    enter_workflow(tmp_path / ".snakemake")
    assert (tmp_path / ".snakemake/gmcn.running").read_text() == f"{platform.node()}\n"


def test_another_machine_that_left_no_locks_is_forgotten(tmp_path):
    (tmp_path / "gmcn.running").write_text("node17\n")
    enter_workflow(tmp_path)
    assert (tmp_path / "gmcn.running").read_text() == f"{platform.node()}\n"
