"""Tracking: complete when it works, harmless when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gmcn import tracking
from gmcn.artifacts import git_commit, save_tensors, sha256, write_json
from gmcn.tracking import store as tracking_store
from gmcn.tracking.journal import FOLDER
from gmcn.tracking.records import MAX_PARAM, input_of

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all tests of the module, each with a data set of its own: creating it takes seconds."""
    folder = tmp_path_factory.mktemp("results")
    tracking.create_store(folder)
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
        "summarise", name="train seed 0", dataset="one", result="one_small", params=params,
        inputs=[("points", source)], results=store,
    ) as run:  # fmt: skip
        run.log_metrics({"loss": 2.0}, step=0)
        run.log_metrics({"loss": 1.0}, step=1)
        run.log_metrics({"seconds": 5.0})
        run.log_artifact(source)
        run.log_result(
            {"accuracy": 0.5, "accuracy_std": None}, {"training": {"epochs": 3}}, inputs=[("points", source)]
        )
    [logged] = runs(store, "one", "tags.`gmcn.stage` = 'summarise'")
    [parent] = runs(store, "one", "tags.`gmcn.result` = 'one_small'")
    assert logged.info.run_id == run.id
    assert logged.info.status == parent.info.status == "FINISHED"
    assert logged.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics == {"accuracy": 0.5}
    assert parent.data.params == {"training.epochs": "3"}
    assert [entry.dataset.name for entry in parent.inputs.dataset_inputs] == ["points.json"]
    for tagged in (logged, parent):
        assert tagged.data.tags["mlflow.source.git.commit"] == git_commit()
        assert tagged.data.tags["gmcn.version.torch"] == torch.__version__
    assert logged.data.params["training.epochs"] == "3"
    assert logged.data.params["layers"] == "[[8, 4]]"
    assert len(logged.data.params["long"]) == MAX_PARAM
    assert logged.data.metrics == {"loss": 1.0, "seconds": 5.0}
    assert [point.value for point in client(store).get_metric_history(run.id, "loss")] == [2.0, 1.0]
    assert logged.data.tags["gmcn.input.points.sha256"] == sha256(source)
    assert logged.data.tags["gmcn.input.points.run_id"] == "abc"
    [entry] = logged.inputs.dataset_inputs
    assert (entry.dataset.name, entry.tags[0].value) == ("points.json", "points")
    assert [artifact.path for artifact in client(store).list_artifacts(run.id)] == ["points.json"]
    assert (store / "mlartifacts" / "one" / run.id / "artifacts" / "points.json").is_file()
    assert not list((store / FOLDER).iterdir())


def test_objects_without_labels_are_counted_too(tmp_path):
    path = tmp_path / "points.safetensors"
    save_tensors(path, {"points": torch.zeros(3, 8, 2), "split": torch.zeros(3, dtype=torch.int64)}, {})
    assert input_of("points", path)["rows"] == 3


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


def test_a_result_ends_with_its_last_stage(store):
    def status() -> str:
        return runs(store, "eight", "tags.`gmcn.result` = 'eight_small'")[0].info.status

    def stage(name: str, error: Exception | None = None) -> None:
        with tracking.start(name, name=name, dataset="eight", result="eight_small", results=store):
            if error:
                raise error

    with pytest.raises(ValueError, match="one of the seeds"):
        stage("train", ValueError("one of the seeds"))
    assert status() == "RUNNING", "the other seeds do"
    stage("evaluate")
    assert status() == "RUNNING"
    stage("summarise")
    assert status() == "FINISHED"


def test_a_training_on_a_fold_ends_its_result(store):
    with tracking.start("train", name="train", dataset="nine", result="nine_small-fold1of2", results=store):
        pass
    [parent] = runs(store, "nine", "tags.`gmcn.result` = 'nine_small-fold1of2'")
    assert parent.info.status == "FINISHED"


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
    # Killed when all was logged, but before its files counted as made.
    assert attempt(range(7, 8), resume=True) == resumed
    assert [point.step for point in client(store).get_metric_history(resumed, "loss")] == list(range(8))
    assert attempt(range(2), resume=False) != resumed


def test_a_parameter_that_changed_when_a_stage_goes_on_is_a_tag(store):
    def attempt(minutes: int, resume: bool) -> str:
        params = {"training": {"checkpoint_minutes": minutes, "epochs": 3}}
        with tracking.start(
            "train", name="train", dataset="five", job_key="k", resume=resume, params=params, results=store
        ) as run:
            run.log_metrics({"loss": 1.0}, step=minutes)
        return run.id

    first, again = attempt(2, resume=False), attempt(5, resume=True)
    assert first == again
    logged = client(store).get_run(again)
    assert logged.info.status == "FINISHED"
    assert logged.data.params == {"training.checkpoint_minutes": "2", "training.epochs": "3"}
    changed = {key: value for key, value in logged.data.tags.items() if key.startswith("gmcn.changed.")}
    assert changed == {"gmcn.changed.training.checkpoint_minutes": "5"}
    assert len(client(store).get_metric_history(again, "loss")) == 2
    assert not list((store / FOLDER).iterdir())


def test_a_result_with_other_settings_is_another_one_and_takes_its_stages_along(store):
    def attempt(epochs: int) -> tuple[str, str]:
        with tracking.start("train", name="train", dataset="six", result="six_small", results=store) as train:
            pass
        with tracking.start("summarise", name="summarise", dataset="six", result="six_small", results=store) as run:
            run.log_result({"accuracy": epochs / 10}, {"epochs": epochs}, [train.id, None])
        return train.id, run.id

    first, same, other = attempt(3), attempt(3), attempt(4)
    parent_of = {
        run.info.run_id: run.data.tags["mlflow.parentRunId"] for run in runs(store, "six", "tags.gmcn.stage != ''")
    }
    old, new = parent_of[first[0]], parent_of[other[0]]
    assert {parent_of[run] for run in (*first, *same)} == {old}
    assert {parent_of[run] for run in other} == {new}
    assert old != new
    results = {run.info.run_id: run for run in runs(store, "six", "tags.`gmcn.result` = 'six_small'")}
    assert {key: run.data.params["epochs"] for key, run in results.items()} == {old: "3", new: "4"}
    assert {run.info.status for run in results.values()} == {"FINISHED"}


def test_every_result_leads_back_to_the_download(store, tmp_path):
    """From run to run by what each has read, up to a published file."""
    archive, points, mixtures, summary = (
        tmp_path / name for name in ("a.zip", "points.json", "mixtures.json", "e.json")
    )
    archive.write_bytes(b"published")
    made = []
    for stage, inputs, output in (
        ("download", [], tmp_path / "a.zip.json"),
        ("sample", [("download.0", archive)], points),
        ("fit", [("points", points)], mixtures),
        ("evaluate", [("mixtures", mixtures)], summary),
    ):
        with tracking.start(stage, name=stage, dataset="seven", inputs=inputs, results=store) as run:
            write_json(output, {"run_id": run.id})
        made.append(run.id)
    walked, current = [made[-1]], client(store).get_run(made[-1])
    while found := [value for key, value in current.data.tags.items() if key.endswith(".run_id")]:
        current = client(store).get_run(found[0])
        walked.append(current.info.run_id)
    assert walked == made[::-1]
    [read] = client(store).get_run(made[1]).inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("a.zip", sha256(archive)[:36])


@pytest.mark.parametrize("way", ["off", "not installed"])
def test_without_tracking_everything_works_and_nothing_is_written(tmp_path, monkeypatch, way):
    if way == "not installed":
        monkeypatch.setattr(tracking.run.importlib.util, "find_spec", lambda name: None)
    results = tmp_path / "results"
    with tracking.start("fit", name="fit", dataset="digits", enabled=way != "off", results=results) as run:
        run.log_params({"a": 1})
        run.log_metrics({"loss": 1.0}, step=0)
        run.log_artifact("nowhere")
        run.log_result({"accuracy": 1.0})
    assert run.id is None
    assert not results.exists()


def test_a_store_whose_making_was_interrupted_is_made_anew(tmp_path):
    (tmp_path / ".mlflow.db.1.part").write_bytes(b"half a database")
    tracking.create_store(tmp_path)
    with tracking.start("fit", name="fit", dataset="digits", results=tmp_path) as run:
        assert run.id
    assert client(tmp_path).get_run(run.id).info.status == "FINISHED"
    assert not list(tmp_path.glob(".mlflow.db.*.part"))
