"""Tracking: complete when it works, harmless when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gmcn import tracking, tracking_store
from gmcn.artifacts import sha256, write_json
from tests.conftest import ROOT

mlflow = pytest.importorskip("mlflow")

WORKER = """
import sys
from gmcn import tracking
with tracking.start("train", name=f"train seed {sys.argv[1]}", dataset="digits", result="digits_small",
                    results=sys.argv[2]) as run:
    for step in range(300):
        run.log_metrics({"train/loss": step / 10, "train/accuracy": 1.0}, step=step)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all tests of the module, each with a data set of its own: creating it takes seconds."""
    folder = tmp_path_factory.mktemp("results")
    tracking_store.create_store(folder)
    return folder


@pytest.fixture(autouse=True)
def _warn_again(monkeypatch):
    monkeypatch.setattr(tracking_store, "_warned", False)


def client(store: Path):
    return mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(store))


def runs(store: Path, dataset: str, condition: str = ""):
    experiment = client(store).get_experiment_by_name(f"gmcn/{dataset}")
    return client(store).search_runs([experiment.experiment_id], condition)


def test_a_stage_is_a_run_below_its_result(store, tmp_path):
    source = tmp_path / "points.json"
    write_json(source, {"run_id": "abc"})
    params = {"training": {"epochs": 3}, "layers": [[8, 4]], "long": "x" * 2000}
    with tracking.start(
        "train", name="train seed 0", dataset="one", result="one_small", params=params,
        inputs=[("points", source)], results=store,
    ) as run:  # fmt: skip
        run.log_metrics({"loss": 2.0}, step=0)
        run.log_metrics({"loss": 1.0}, step=1)
        run.log_metrics({"seconds": 5.0})
        run.log_artifact(source)
        run.log_result({"accuracy": 0.5})
    [logged] = runs(store, "one", "tags.`gmcn.stage` = 'train'")
    [parent] = runs(store, "one", "tags.`gmcn.result` = 'one_small'")
    assert logged.info.run_id == run.id
    assert logged.info.status == parent.info.status == "FINISHED"
    assert logged.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics == {"accuracy": 0.5}
    assert logged.data.params["training.epochs"] == "3"
    assert logged.data.params["layers"] == "[[8, 4]]"
    assert len(logged.data.params["long"]) == tracking.MAX_PARAM
    assert logged.data.metrics == {"loss": 1.0, "seconds": 5.0}
    assert [point.value for point in client(store).get_metric_history(run.id, "loss")] == [2.0, 1.0]
    assert logged.data.tags["gmcn.input.points.sha256"] == sha256(source)
    assert logged.data.tags["gmcn.input.points.run_id"] == "abc"
    [entry] = logged.inputs.dataset_inputs
    assert (entry.dataset.name, entry.tags[0].value) == ("points.json", "points")
    assert [artifact.path for artifact in client(store).list_artifacts(run.id)] == ["points.json"]
    assert (store / "mlartifacts" / "one" / run.id / "artifacts" / "points.json").is_file()


def test_runs_of_one_result_share_a_parent_and_data_sets_have_their_own(store):
    for stage, result in (("train", "two_small"), ("evaluate", "two_small"), ("sample", None)):
        with tracking.start(stage, name=stage, dataset="two", result=result, results=store):
            pass
    parents = {run.info.run_id: run.info.run_name for run in runs(store, "two", "tags.`gmcn.stage` = ''")}
    parents |= {run.info.run_id: run.info.run_name for run in runs(store, "two") if "gmcn.result" in run.data.tags}
    below = {
        run.info.run_name: parents[run.data.tags["mlflow.parentRunId"]]
        for run in runs(store, "two")
        if "gmcn.stage" in run.data.tags
    }
    assert below == {"train": "two_small", "evaluate": "two_small", "sample": "two"}
    assert sorted(parents.values()) == ["two", "two_small"]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")]
)
def test_an_error_closes_the_run_and_goes_on(store, error, status):
    dataset = f"three-{type(error).__name__}"

    def stage() -> None:
        with tracking.start("fit", name="fit", dataset=dataset, results=store) as run:
            run.log_metrics({"loss": 1.0}, step=0)
            raise error

    with pytest.raises(type(error)):
        stage()
    [logged] = runs(store, dataset, "tags.`gmcn.stage` = 'fit'")
    assert logged.info.status == status
    assert logged.data.metrics == {"loss": 1.0}


def test_a_resumed_stage_goes_on_with_its_run_and_doubles_no_step(store):
    def attempt(steps: range, resume: bool, stop: bool = False) -> str:
        with tracking.start(
            "train", name="train", dataset="four", job_key="k", resume=resume, params={"lr": 1}, results=store
        ) as run:
            for step in steps:
                run.log_metrics({"loss": float(step)}, step=step)
            if stop:
                raise SystemExit(143)
        return run.id

    with pytest.raises(SystemExit):
        attempt(range(4), resume=False, stop=True)
    # The checkpoint was older than the last step that had been logged.
    resumed = attempt(range(3, 8), resume=True)
    assert [point.step for point in client(store).get_metric_history(resumed, "loss")] == list(range(8))
    assert client(store).get_run(resumed).info.status == "FINISHED"
    assert len(runs(store, "four", "tags.`gmcn.job_key` = 'k'")) == 1
    assert attempt(range(2), resume=False) != resumed
    assert attempt(range(2), resume=True) not in ("", resumed)  # finished runs are left alone


@pytest.mark.parametrize("way", ["off", "not installed"])
def test_without_tracking_everything_works_and_nothing_is_written(tmp_path, monkeypatch, way):
    if way == "not installed":
        monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    results = tmp_path / "results"
    with tracking.start("fit", name="fit", dataset="digits", enabled=way != "off", results=results) as run:
        run.log_params({"a": 1})
        run.log_metrics({"loss": 1.0}, step=0)
        run.log_artifact("nowhere")
        run.log_result({"accuracy": 1.0})
        run.set_tags({"a": 1})
    assert run.id is None
    assert not results.exists()


def test_a_store_that_cannot_be_reached_stops_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for _ in range(2):
        with tracking.start("fit", name="fit", dataset="digits", results=tmp_path) as run:
            run.log_metrics({"loss": 1.0}, step=0)
    assert capsys.readouterr().err.count("warning: this stage is not fully logged") == 1


def test_metrics_survive_a_store_that_comes_back(store, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "FLUSH_POINTS", 1)
    with tracking.start("train", name="train", dataset="five", results=store) as run:
        working, calls = run._client.log_batch, []

        def broken(*arguments, **options):
            calls.append(arguments)
            raise OSError("connection lost")

        run._client.log_batch = broken
        for step in range(50):
            run.log_metrics({"loss": float(step)}, step=step)
        assert len(calls) == 1  # a store that is down is not asked at every step
        run._client.log_batch = working
    assert [point.step for point in client(store).get_metric_history(run.id, "loss")] == list(range(50))
    assert "connection lost" in capsys.readouterr().err


def test_processes_that_start_together_on_no_store_lose_nothing(tmp_path):
    results = tmp_path / "results"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seed), str(results)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for seed in range(4)
    ]
    for worker in workers:
        errors = worker.communicate(timeout=120)[1]
        assert worker.returncode == 0, errors
        assert "warning" not in errors
    logged = runs(results, "digits", "tags.`gmcn.stage` = 'train'")
    assert sorted(run.info.run_name for run in logged) == [f"train seed {seed}" for seed in range(4)]
    assert {run.info.status for run in logged} == {"FINISHED"}
    assert len({run.data.tags["mlflow.parentRunId"] for run in logged}) == 1
    for run in logged:
        for key in ("train/loss", "train/accuracy"):
            points = client(results).get_metric_history(run.info.run_id, key)
            assert [point.step for point in points] == list(range(300))


def test_a_store_whose_making_was_interrupted_is_made_anew(tmp_path):
    (tmp_path / ".mlflow.db.part").write_bytes(b"half a database")
    tracking_store.create_store(tmp_path)
    with tracking.start("fit", name="fit", dataset="digits", results=tmp_path) as run:
        assert run.id
    assert client(tmp_path).get_run(run.id).info.status == "FINISHED"
    assert not (tmp_path / ".mlflow.db.part").exists()
