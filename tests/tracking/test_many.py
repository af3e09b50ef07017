"""Many jobs that log at once: no record is lost, no job fails, one store is made."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gmcn.tracking import store as tracking_store
from gmcn.tracking.journal import FOLDER
from tests.conftest import ROOT, free_port

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

JOBS, STEPS = 8, 200
WORKER = f"""
import sys
from gmcn import tracking
with tracking.start("train", name=f"train seed {{sys.argv[1]}}", dataset="toy", result="toy_small", params={{"lr": 1}},
                    results=sys.argv[2]) as run:
    for step in range({STEPS}):
        run.log_metrics({{"train/loss": step / 10, "train/accuracy": 1.0}}, step=step)
    run.log_artifact(sys.argv[3])
"""


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server on loopback, gone when the block ends."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(params=["database", "server"])
def uri(request, tmp_path) -> Iterator[str | None]:
    if request.param == "database":
        yield None
        return
    with server(tmp_path) as address:
        yield address


def test_jobs_that_start_together_on_no_store_lose_nothing(tmp_path, uri, monkeypatch):
    results, artifact = tmp_path / "results", tmp_path / "artifact.txt"
    artifact.write_text("kept")
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("://", "://anna:s3cret@"))  # which it does not ask for
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seed), str(results), str(artifact)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in range(JOBS)
    ]
    said = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * JOBS, said
    assert not [text for text in said if "s3cret" in text]

    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    assert sorted(found.name for found in client.search_experiments()) == ["Default", "gmcn/toy"]
    experiment = client.get_experiment_by_name("gmcn/toy").experiment_id
    logged = client.search_runs([experiment], "tags.`gmcn.stage` = 'train' and attributes.status = 'FINISHED'")
    assert sorted(run.info.run_name for run in logged if "mlflow.parentRunId" in run.data.tags) == [
        f"train seed {seed}" for seed in range(JOBS)
    ]
    assert len({run.data.tags["mlflow.parentRunId"] for run in logged}) == 1
    for run in logged:
        assert run.data.params == {"lr": "1"}
        assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["artifact.txt"]
        for key in ("train/loss", "train/accuracy"):
            points = client.get_metric_history(run.info.run_id, key)
            assert [(point.step, point.value) for point in points] == [
                (step, step / 10 if key == "train/loss" else 1.0) for step in range(STEPS)
            ]
    assert not list((results / FOLDER).iterdir())
    assert [path.name for path in results.iterdir() if path.name.endswith((".db", ".part"))] == (
        [] if uri else ["mlflow.db"]
    )
