"""What MLflow may suffer: the stage goes on with one warning, and nothing of what it logged is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gmcn import tracking, tracking_store
from gmcn.tracking_journal import FOLDER
from tests.conftest import ROOT

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.faults

STEPS = 30


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(tracking_store, "_warned", False)
    monkeypatch.setattr(tracking, "FLUSH_POINTS", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Made once: it takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    tracking_store.create_store(folder)
    return folder / "mlflow.db"


@pytest.fixture
def results(tmp_path, database):
    shutil.copy(database, tmp_path)
    return tmp_path


def log(results: Path, at=None, **options) -> str | None:
    """A stage that logs every kind of thing, and does what ``at`` says at a step."""
    artifact = results / "artifact.txt"
    artifact.write_text("kept")
    with tracking.start("train", name="train", dataset="toy", params={"lr": 1}, results=results, **options) as run:
        for step in range(STEPS):
            if at and step in at:
                at[step](run)
            run.log_metrics({"loss": float(step)}, step=step)
        run.log_artifact(artifact)
        run.log_result({"accuracy": 0.5}, {"lr": 1})
    return run.id


def assert_complete(results: Path, name: str = "train", status: str = "FINISHED") -> None:
    """One run with all steps, its setting and artifact, and its result; nothing waits."""
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    experiment = client.get_experiment_by_name("gmcn/toy").experiment_id
    [run] = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    [parent] = client.search_runs([experiment], "tags.`gmcn.result` = 'toy'")
    assert run.info.status == status
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(STEPS))
    assert run.data.params == {"lr": "1"}
    if status == "FINISHED":
        assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["artifact.txt"]
        assert parent.data.metrics == {"accuracy": 0.5}
    assert not list((results / FOLDER).iterdir())


def warnings_of(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()]


def test_an_unreachable_server_costs_one_warning_and_gets_everything_later(tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert log(tmp_path) is None
    [warning] = warnings_of(capsys)
    [journal] = (tmp_path / FOLDER).iterdir()
    assert str(journal) in warning
    assert "`gmcn store` sends it" in warning

    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # the store is back
    for _ in range(2):
        tracking_store.create_store(tmp_path)
        assert_complete(tmp_path)


def test_a_store_that_fails_is_left_alone_for_a_while(results, capsys):
    calls = []

    def fail(run):
        def broken(*arguments, **options):
            calls.append(arguments)
            raise OSError("connection lost")

        run._delivery._send_points = broken

    def repair(run):
        del run._delivery._send_points

    log(results, at={5: fail, 25: repair})
    assert len(calls) == 1
    assert_complete(results)
    [warning] = warnings_of(capsys)
    assert "connection lost" in warning


@pytest.mark.parametrize("way", ["deleted", "replaced by nothing", "damaged"])
def test_a_database_that_goes_away_while_a_stage_runs(results, capsys, way):
    database = results / "mlflow.db"

    def harm(_run):
        database.unlink()
        if way == "replaced by nothing":
            database.touch()
        if way == "damaged":
            database.write_bytes(b"no database" * 1000)

    log(results, at={10: harm})
    assert len(warnings_of(capsys)) == 1
    if way == "damaged":
        database.unlink()
        tracking_store.create_store(results)
    assert_complete(results)


def test_a_locked_database_delays_what_is_logged_and_stops_nothing(results, capsys, monkeypatch):
    """As by a backup, or a job that was stopped in the middle of a transaction."""
    # MLflow waits 20 s for a lock; the test need not.
    monkeypatch.setattr(tracking, "WAIT_SHARE", 1000)
    impatient_sqlite(monkeypatch)
    lock = sqlite3.connect(results / "mlflow.db", isolation_level=None)

    def take(_run):
        lock.execute("BEGIN EXCLUSIVE")

    log(results, at={10: take, STEPS - 1: lambda run: lock.rollback()})
    assert_complete(results)
    [warning] = warnings_of(capsys)
    assert "locked" in warning


def test_a_database_that_is_locked_to_the_end_gets_everything_later(results, capsys, monkeypatch):
    impatient_sqlite(monkeypatch)
    lock = sqlite3.connect(results / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    log(results)
    assert len(warnings_of(capsys)) == 1
    lock.rollback()
    tracking_store.create_store(results)
    assert_complete(results)


def impatient_sqlite(monkeypatch) -> None:
    import sqlalchemy

    text = sqlalchemy.text
    monkeypatch.setattr(
        sqlalchemy.sql, "text", lambda sql: text(sql.replace("busy_timeout = 20000", "busy_timeout = 50"))
    )


def test_results_that_cannot_be_written_turn_tracking_off(tmp_path, capsys, monkeypatch):
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    assert log(tmp_path) is None
    [warning] = warnings_of(capsys)
    assert "nothing is logged to MLflow" in warning


KILLED = f"""
import os, signal, sys
from gmcn import tracking
with tracking.start("train", name="train", dataset="toy", params={{"lr": 1}}, results=sys.argv[1], job_key="k") as run:
    for step in range({STEPS} - 10):
        run.log_metrics({{"loss": float(step)}}, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(results):
    """Results in which a training was killed that had steps in its buffer, and half a line in its journal."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(results)], cwd=ROOT, env=environment(), timeout=120)
    assert done.returncode == -signal.SIGKILL
    [journal] = (results / FOLDER).iterdir()
    with open(journal, "a") as file:
        file.write('{"metrics": [["los')
    return results


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_killed_training_goes_on_in_its_run_without_a_gap(killed):
    log(killed, job_key="k", resume=True)
    assert_complete(killed)


def test_what_a_killed_stage_had_to_say_is_sent_by_the_next_workflow(killed, capsys):
    tracking_store.create_store(killed)
    assert "logged to MLflow what 1 earlier" in capsys.readouterr().err
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(killed))
    [run] = client.search_runs(
        [client.get_experiment_by_name("gmcn/toy").experiment_id], "attributes.run_name = 'train'"
    )
    assert run.info.status == "KILLED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(STEPS - 10))
    assert not list((killed / FOLDER).iterdir())


def test_the_journal_of_a_running_stage_is_left_alone(results):
    def others(_run):
        tracking_store.create_store(results)
        assert len(list((results / FOLDER).iterdir())) == 1

    log(results, at={10: others})
    assert_complete(results)


def test_a_job_that_hangs_while_it_opens_its_run_keeps_no_other_from_starting(results, monkeypatch, capsys):
    monkeypatch.setattr(tracking_store, "LOCK_SECONDS", 0.1)
    with tracking_store.locked(results), contextlib.suppress(OSError):
        began = time.monotonic()
        assert log(results) is None
        assert time.monotonic() - began < 30
    assert "another process" in capsys.readouterr().err
    tracking_store.create_store(results)
    assert_complete(results)
