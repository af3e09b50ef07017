"""Failures of MLflow: the stage goes on with one warning, and nothing that it logged is lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.server
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gmcn import tracking
from gmcn.tracking import store as tracking_store
from gmcn.tracking.delivery import Delivery
from gmcn.tracking.journal import FOLDER, Journal
from tests.conftest import ROOT

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.faults

STEPS = 30


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(tracking_store, "_warned", False)
    monkeypatch.setattr(tracking.run, "FLUSH_POINTS", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Made once: it takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    tracking.create_store(folder)
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
        tracking.create_store(tmp_path)
        assert_complete(tmp_path)


def test_what_is_sent_later_has_begun_and_ended_when_it_did(results, monkeypatch):
    hour = 3600 * 1000
    with monkeypatch.context() as away:
        away.setattr(tracking_store, "connect", fail_to_connect)
        away.setattr(time, "time", lambda: 1000.0)
        with tracking.start("summarise", name="summarise", dataset="toy", result="toy_small", results=results) as run:
            run.log_result({"accuracy": 0.5}, {"epochs": 1})
            away.setattr(time, "time", lambda: 4600.0)
    tracking.create_store(results)
    for condition in ("attributes.run_name = 'summarise'", "tags.`gmcn.result` = 'toy_small'"):
        _, found = found_run(results, condition)
        assert (found.info.start_time, found.info.end_time) == (1_000_000, 1_000_000 + hour)
    # Made again with other settings: the first result ends when it did.
    with tracking.start("summarise", name="again", dataset="toy", result="toy_small", results=results) as run:
        run.log_result({"accuracy": 0.5}, {"epochs": 2})
    _, found = found_run(results, "tags.`gmcn.result` = 'toy_small' and params.epochs = '1'")
    assert (found.info.status, found.info.end_time) == ("FINISHED", 1_000_000 + hour)


def test_files_that_another_run_replaced_before_they_were_sent_are_left_out(results, monkeypatch, caplog):
    files = [results / name for name in ("kept.txt", "replaced.txt", "removed.txt")]
    with monkeypatch.context() as away:
        away.setattr(tracking_store, "connect", fail_to_connect)
        for file in files:
            file.write_text("of this run")
        with tracking.start("train", name="train", dataset="toy", results=results) as run:
            for file in (*files, results / "never.txt"):
                run.log_artifact(file, "files")
            run.log_result({"accuracy": 0.5}, artifacts=files)
    files[1].write_text("of the next run")
    files[2].unlink()
    tracking.create_store(results)
    assert logged_files(results, "attributes.run_name = 'train'", "files") == ["files/kept.txt"]
    assert logged_files(results, "tags.`gmcn.result` = 'toy'") == ["kept.txt"]
    assert caplog.text.count("was replaced or removed before MLflow got it") == 4


def test_a_journal_of_older_code_is_sent(results):
    """It says nothing of what files hold."""
    (results / "file.txt").write_text("kept")
    result = {"metrics": [["accuracy", 0.5, 1000, None]], "columns": ["accuracy"], "ascending": False, "params": {}}
    first = {"name": "train", "dataset": "toy", "result": "toy", "job_key": None, "resume": False, "tags": {}}
    journal = Journal.create(results, "train", {"start": {**first, "time": 1000}})
    journal.append({"artifact": {"path": "file.txt", "folder": None}})
    journal.append({"result": {**result, "runs": [], "artifacts": ["file.txt"], "inputs": []}})
    journal.append({"end": "FINISHED"})
    journal.close()
    tracking.create_store(results)
    assert logged_files(results, "attributes.run_name = 'train'") == ["file.txt"]
    assert logged_files(results, "tags.`gmcn.result` = 'toy'") == ["file.txt"]
    assert not list((results / FOLDER).iterdir())


def found_run(results: Path, condition: str):
    """MLflow's client, and the one run that fulfils the condition."""
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    [run] = client.search_runs([client.get_experiment_by_name("gmcn/toy").experiment_id], condition)
    return client, run


def logged_files(results: Path, condition: str, folder: str | None = None) -> list[str]:
    client, run = found_run(results, condition)
    return [entry.path for entry in client.list_artifacts(run.info.run_id, folder)]


def test_no_password_of_a_server_is_printed_or_written(tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:s3cret@127.0.0.1:{free.getsockname()[1]}?token=t0ken")
        address = {"files": [{"url": "https://anna:s3cret@host/a.zip?token=t0ken"}]}
        with tracking.start("download", name="download", dataset="toy", params=address, results=tmp_path) as run:
            run.log_metrics({"bytes": 1.0})
        tracking_store._warned = False
        tracking.create_store(tmp_path)
    said = capsys.readouterr().err
    assert said.count("MLflow cannot be used for now") == 2
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("https://host/a.zip?..." in text for text in written)
    assert not [text for text in [said, *written] if "s3cret" in text or "t0ken" in text]


def test_a_server_that_never_answers_keeps_a_stage_waiting_for_less_than_a_minute(results, monkeypatch):
    """MLflow's own patience is many minutes per request."""
    retries = mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES
    timeout = mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT
    for variable in (retries, timeout):
        monkeypatch.delenv(variable.name, raising=False)
    tracking_store.connect(results)
    assert (1 + retries.get()) * timeout.get() < 60


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


def test_a_store_that_takes_its_time_to_fail_is_asked_the_less(tmp_path, monkeypatch, capsys):
    """Waiting for it costs a tenth of a stage's time."""
    clock, asked = [0.0], []

    def fail(_results):
        asked.append(clock[0])
        clock[0] += 100
        raise OSError("timed out")

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(tracking_store, "connect", fail)
    with tracking.start("train", name="train", dataset="toy", results=tmp_path) as run:
        for step in range(1, 13):
            clock[0] += 100
            run.log_metrics({"loss": 1.0}, step=step)
        assert asked == [0.0, 1100.0]
    assert len(warnings_of(capsys)) == 1


def test_a_run_whose_making_was_never_answered_is_not_made_twice(results, monkeypatch, capsys):
    create_run, lost = mlflow.MlflowClient.create_run, []

    def lose(self, *arguments, **options):
        made = create_run(self, *arguments, **options)
        if options["run_name"] == "train" and not lost:
            lost.append(made)
            raise OSError("timed out")
        return made

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", lose)
    assert log(results) == lost[0].info.run_id
    assert_complete(results)
    assert len(warnings_of(capsys)) == 1


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
        tracking.create_store(results)
    assert_complete(results)


def test_a_locked_database_delays_what_is_logged_and_stops_nothing(results, capsys, monkeypatch):
    """As by a backup, or a job that was stopped in the middle of a transaction."""
    # MLflow waits 20 s for a lock; the test need not.
    monkeypatch.setattr(tracking.run, "WAIT_SHARE", 1000)
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
    tracking.create_store(results)
    assert_complete(results)


def test_what_the_store_refuses_keeps_nothing_else_from_it(results, caplog):
    log(results, at={10: lambda run: run.log_metrics({"no: name?*": 1.0}, step=0)})
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    [run] = client.search_runs([client.get_experiment_by_name("gmcn/toy").experiment_id], "run_name = 'train'")
    assert run.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(STEPS))
    assert "MLflow refuses" in caplog.text
    assert [path.suffix for path in (results / FOLDER).iterdir()] == [".damaged"], "what it said is kept"


def test_a_journal_that_the_store_refuses_keeps_no_other_waiting(results, monkeypatch, caplog):
    with monkeypatch.context() as away:
        away.setattr(tracking_store, "connect", fail_to_connect)
        for dataset in ("deleted", "toy"):
            with tracking.start("fit", name="fit", dataset=dataset, results=results):
                pass
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    deleted = client.create_experiment("gmcn/deleted")
    client.delete_experiment(deleted)
    tracking.create_store(results)
    assert client.search_runs([client.get_experiment_by_name("gmcn/toy").experiment_id], "run_name = 'fit'")
    [kept] = (results / FOLDER).iterdir()
    assert f"MLflow refuses {kept}, which is kept" in caplog.text
    assert f"gmcn/deleted was deleted: `mlflow experiments restore -x {deleted}` brings it back" in caplog.text
    client.restore_experiment(deleted)
    tracking.create_store(results)
    assert client.search_runs([deleted], "run_name = 'fit'")
    assert not list((results / FOLDER).iterdir())


def test_a_run_that_is_deleted_while_it_is_logged_to_is_said_once(results, caplog):
    log(results, at={10: lambda run: found_run(results, "run_name = 'train'")[0].delete_run(run.id)})
    assert caplog.text.count("MLflow refuses") == 1
    assert [path.suffix for path in (results / FOLDER).iterdir()] == [".damaged"]
    log(results)
    assert found_run(results, "run_name = 'train'")[1].info.status == "FINISHED"


def test_a_result_is_logged_without_its_stages_that_were_deleted(results):
    with tracking.start("train", name="train", dataset="toy", result="toy_small", results=results) as train:
        pass
    for epochs in (1, 2):
        with tracking.start("summarise", name="summarise", dataset="toy", result="toy_small", results=results) as run:
            run.log_result({"accuracy": 0.5}, {"epochs": epochs}, [train.id])
        if epochs == 1:
            found_run(results, "run_name = 'train'")[0].delete_run(train.id)
    _, parent = found_run(results, "tags.`gmcn.result` = 'toy_small' and params.epochs = '2'")
    assert parent.data.metrics == {"accuracy": 0.5}
    assert not list((results / FOLDER).iterdir())


def fail_to_connect(_results):
    raise OSError("the store is away")


class Forbidding(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow does where --allowed-hosts does not name it as it is called."""

    def do_POST(self):
        self.send_response(403)
        self.end_headers()
        self.wfile.write(b"Invalid Host header - possible DNS rebinding attack detected")

    do_GET = do_POST

    def log_message(self, *_):
        pass


def test_a_server_that_forbids_everything_costs_nothing(results, monkeypatch, capsys):
    with http.server.HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        assert log(results) is None
        tracking.create_store(results)
        server.shutdown()
    [warning] = warnings_of(capsys)
    assert "403" in warning
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.create_store(results)
    assert_complete(results)


def impatient_sqlite(monkeypatch) -> None:
    import sqlalchemy

    text = sqlalchemy.text
    monkeypatch.setattr(
        sqlalchemy.sql, "text", lambda sql: text(sql.replace("busy_timeout = 20000", "busy_timeout = 50"))
    )


@pytest.mark.parametrize("store", ["there", "away"])
def test_a_disk_that_fills_up_does_not_stop_the_end_of_a_run(results, monkeypatch, capsys, store):
    """As that of a training that has written everything."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if store == "away":
        monkeypatch.setattr(tracking_store, "connect", fail_to_connect)
    monkeypatch.setattr(Delivery, "_send_points", lambda *_: None)  # the database is on this disk as well
    monkeypatch.setattr(Delivery, "_send_end", lambda *_: None)
    try:
        with tracking.start("train", name="train", dataset="toy", results=results) as run:
            size = run._delivery.journal.path.stat().st_size + 10
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            run.log_metrics({"loss": 1.0}, step=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = list((results / FOLDER).iterdir())
    assert len(left) == (store == "away")
    assert all(Journal(path).records()[0]["start"]["name"] == "train" for path in left)
    assert len(warnings_of(capsys)) == 1


def test_results_that_become_read_only_do_not_stop_the_end_of_a_run(results, monkeypatch):
    def refuse(_journal):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as read_only:
        read_only.setattr(Journal, "remove", refuse)
        assert log(results) is not None
    tracking.create_store(results)
    assert_complete(results)


def test_a_disk_that_is_full_turns_tracking_off_and_keeps_no_half_journal(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with tracking.start("train", name="train", dataset="toy", results=tmp_path) as run:
            assert run.files is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / FOLDER).iterdir())
    [warning] = warnings_of(capsys)
    assert "nothing is logged to MLflow ([Errno 28] No space left" in warning


def test_a_damaged_input_is_left_to_the_stage(results, capsys):
    damaged = results / "points.safetensors"
    damaged.write_bytes(b"half")
    with tracking.start("fit", name="fit", dataset="toy", inputs=[("points", damaged)], results=results) as run:
        assert run.id is not None
    assert warnings_of(capsys) == []


def test_an_input_of_a_result_that_vanishes_takes_only_itself_along(results):
    inputs = [("points", results / "gone.safetensors"), ("mixtures", results / "gone.json")]
    with tracking.start("summarise", name="summarise", dataset="toy", results=results) as run:
        run.log_result({"accuracy": 0.5}, inputs=inputs)
    _, parent = found_run(results, "tags.`gmcn.result` = 'toy'")
    assert parent.data.metrics == {"accuracy": 0.5}


def test_results_that_cannot_be_written_turn_tracking_off(tmp_path, capsys, monkeypatch):
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    assert log(tmp_path) is None
    [warning] = warnings_of(capsys)
    assert "nothing is logged to MLflow" in warning


def test_two_checkouts_with_one_database_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared/mlflow.db")
    monkeypatch.setattr(tracking_store, "LOCK_SECONDS", 0.1)
    second = tracking_store.locked(tmp_path / "second")
    with tracking_store.locked(tmp_path / "first"), pytest.raises(OSError, match="another process"):
        second.__enter__()


@pytest.mark.parametrize("content", [b"made by another program", b""])
def test_a_database_that_exists_is_not_replaced(tmp_path, monkeypatch, database, content):
    class Making:
        """Takes its time, in which another program makes the same database."""

        def __init__(self, tracking_uri):
            self.path = Path(tracking_uri.removeprefix("sqlite:///"))

        def search_experiments(self, max_results):
            shutil.copy(database, self.path)
            (tmp_path / "mlflow.db").write_bytes(content)

    monkeypatch.setattr(mlflow, "MlflowClient", Making)
    tracking_store.connect(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == (content or database.read_bytes())
    assert not list(tmp_path.glob("*.part"))


def test_a_file_system_without_locks_turns_nothing_off(results, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert log(results) is not None
    assert_complete(results)
    assert warnings_of(capsys) == []


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


def test_a_killed_training_goes_on_while_the_store_is_away(killed, monkeypatch):
    with monkeypatch.context() as away:
        away.setattr(tracking_store, "connect", fail_to_connect)
        assert log(killed, job_key="k", resume=True) is None
    tracking.create_store(killed)
    assert_complete(killed)


def test_what_a_killed_stage_had_to_say_is_sent_by_the_next_workflow(killed, capsys):
    [journal] = (killed / FOLDER).iterdir()
    os.utime(journal, (1000.0, 1000.0))
    tracking.create_store(killed)
    assert "logged to MLflow what 1 earlier" in capsys.readouterr().err
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(killed))
    [run] = client.search_runs(
        [client.get_experiment_by_name("gmcn/toy").experiment_id], "attributes.run_name = 'train'"
    )
    assert (run.info.status, run.info.end_time) == ("KILLED", 1_000_000)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(STEPS - 10))
    assert not list((killed / FOLDER).iterdir())


def test_the_journal_of_a_running_stage_is_left_alone(results):
    def others(_run):
        tracking.create_store(results)
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
    tracking.create_store(results)
    assert_complete(results)
