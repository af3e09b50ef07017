"""Results that are moved or copied take their artifacts along, wherever they lie and whatever the folder is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gmcn import tracking
from gmcn.tracking import store as tracking_store
from gmcn.tracking.journal import FOLDER
from tests.conftest import ROOT

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def _warn_again(monkeypatch):
    monkeypatch.setattr(tracking_store, "_warned", False)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A database without runs: making it takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    tracking.create_store(folder)
    return folder / "mlflow.db"


@pytest.fixture
def results(tmp_path, fresh) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(fresh, folder)
    return folder


def stage(results: Path, name: str, said: str = "kept", dataset: str = "toy") -> str | None:
    """A run with a file and a model; its id."""
    note, model = results / "note.txt", results / "model"
    note.write_text(said)
    model.mkdir(exist_ok=True)
    (model / "MLmodel").write_text(said)
    with tracking.start("fit", name=name, dataset=dataset, results=results) as run:
        run.log_artifact(note, "figures")
        run.log_model(model, name, {})
    return run.id


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_found(results: Path, run: str, name: str, said: str = "kept", uri: str | None = None) -> None:
    """The run's file and model, as a user asks MLflow for them."""
    uri = uri or tracking_store.store_uri(results)
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_run(run)
    assert Path(mlflow.artifacts.download_artifacts(f"{found.info.artifact_uri}/figures/note.txt")).read_text() == said
    [model] = client.search_logged_models([found.info.experiment_id], f"name = '{name}'")
    assert Path(mlflow.artifacts.download_artifacts(f"{model.artifact_location}/MLmodel")).read_text() == said


def test_a_copy_keeps_to_itself(results, tmp_path):
    first = stage(results, "first")
    before = files(results)
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    second = stage(copy, "second", "another")
    assert files(results) == before
    assert_found(copy, second, "second", "another")
    third = stage(results, "third")
    assert_found(results, third, "third")
    shutil.rmtree(results)
    assert_found(copy, first, "first")


@pytest.mark.parametrize("then", ["a stage", "gmcn store"])
def test_results_that_were_moved_have_all_their_artifacts_and_leave_nothing_behind(results, tmp_path, then, caplog):
    first = stage(results, "first")
    here = tracking_store.store_uri(results)
    client = mlflow.MlflowClient(tracking_uri=here, registry_uri=here)
    [model] = client.search_logged_models([client.get_run(first).info.experiment_id])
    client.create_registered_model("mine")
    client.create_model_version("mine", model.artifact_location, first, model_id=model.model_id)
    moved = tmp_path / "another disk" / "results"
    moved.parent.mkdir()
    results.rename(moved)
    with caplog.at_level("INFO", "gmcn"):
        if then == "a stage":
            assert_found(moved, stage(moved, "second"), "second")
        else:
            tracking.create_store(moved)
    assert f"{moved / 'mlflow.db'} was moved or copied here" in caplog.text
    assert not results.exists()
    assert_found(moved, first, "first")
    there = tracking_store.store_uri(moved)
    client = mlflow.MlflowClient(tracking_uri=there, registry_uri=there)
    place = Path(mlflow.artifacts.download_artifacts(client.get_model_version_download_uri("mine", "1")))
    assert (place / "MLmodel").is_file()
    assert client.get_model_version("mine", "1").source.startswith(moved.as_uri())


def test_what_somebody_else_keeps_in_the_database_stays_where_it_is(results, tmp_path):
    stage(results, "first")
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(results))
    theirs = {name: (tmp_path / "theirs" / name).as_uri() for name in ("a", "gmcn/b")}
    for name, location in theirs.items():
        client.create_experiment(name, artifact_location=location)
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    tracking.create_store(copy)
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(copy))
    found = {name: client.get_experiment_by_name(name).artifact_location for name in (*theirs, "gmcn/toy")}
    assert found == {**theirs, "gmcn/toy": (copy / "mlartifacts" / "toy").as_uri()}


def test_what_waits_for_the_store_is_sent_with_the_files_of_its_own_folder(results, tmp_path, monkeypatch):
    def away(_results):
        raise OSError("the store is away")

    with monkeypatch.context() as context:
        context.setattr(tracking_store, "connect", away)
        assert stage(results, "first") is None
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    moved = results.rename(tmp_path / "moved")
    for folder in (copy, moved):
        tracking.create_store(folder)
        assert not list((folder / FOLDER).iterdir())
        client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(folder))
        experiment = client.get_experiment_by_name("gmcn/toy").experiment_id
        [run] = client.search_runs([experiment], "run_name = 'first'")
        assert_found(folder, run.info.run_id, "first")
    assert not results.exists()


@pytest.mark.parametrize("name", ["with blanks", "größe", "#1 of 50%", "a%20b", "a;b&c=d@e:f"])
def test_folders_of_any_name(results, tmp_path, name):
    folder = tmp_path / name / "results"
    folder.parent.mkdir()
    first = stage(results, "first")
    results.rename(folder)
    second = stage(folder, "second")
    assert_found(folder, first, "first")
    assert_found(folder, second, "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_question_mark_in_the_path_is_refused_and_no_file_made_elsewhere(tmp_path, capsys):
    folder = tmp_path / "why?" / "results"
    folder.mkdir(parents=True)
    assert stage(folder, "first") is None
    [warning] = capsys.readouterr().err.splitlines()
    assert "because of the question mark: rename the folder, or name a store" in warning
    assert [path.name for path in tmp_path.iterdir()] == ["why?"]
    moved = folder.parent.rename(tmp_path / "why") / "results"
    tracking.create_store(moved)
    assert not list((moved / FOLDER).iterdir()), "it waited for another name"


@pytest.mark.parametrize("way", ["relative", "through a link"])
def test_results_have_one_store_however_they_are_called(results, tmp_path, monkeypatch, way):
    first = stage(results, "first")
    monkeypatch.chdir(tmp_path)
    called = Path("results") if way == "relative" else Path("link")
    if way != "relative":
        called.symlink_to("results")
    second = stage(called, "second")
    for run, name in ((first, "first"), (second, "second")):
        assert_found(results, run, name)
    assert files(results / "mlartifacts") == files(tmp_path / called / "mlartifacts")


def test_artifacts_of_a_named_database_lie_beside_it_and_go_with_it(results, tmp_path, monkeypatch):
    """By a relative address, which means another one in a copy of the whole folder."""
    project, copy = tmp_path / "project", tmp_path / "copy"
    project.mkdir()
    results.rename(project / "runs")
    results.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
    code = "import pathlib, sys; from tests.tracking.test_moving import stage\n"
    code += "print(stage(pathlib.Path(sys.argv[1]), sys.argv[2]))"

    def elsewhere(folder: Path, name: str) -> str:  # MLflow keeps what a relative address meant first in a process
        call = [sys.executable, "-c", code, str(results), name]
        return subprocess.check_output(call, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True).strip()

    first = elsewhere(project, "first")
    shutil.copytree(project, copy)
    before = files(project)
    second = elsewhere(copy, "second")
    monkeypatch.chdir(copy)
    assert files(project) == before
    assert not (results / "mlartifacts").exists()
    for run, name in ((first, "first"), (second, "second")):
        assert_found(results, run, name, uri=os.environ["MLFLOW_TRACKING_URI"])


def test_a_named_database_whose_artifacts_lie_elsewhere_keeps_them_there(results, tmp_path, monkeypatch):
    """As of results that logged into the database of others."""
    first = stage(results, "first")
    shared = tmp_path / "shared"
    shared.mkdir()
    (results / "mlflow.db").rename(shared / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared / 'mlflow.db'}")
    second = stage(results, "second")
    other = stage(results, "other", dataset="other")
    for run, name in ((first, "first"), (second, "second"), (other, "other")):
        assert_found(results, run, name, uri=os.environ["MLFLOW_TRACKING_URI"])
    assert {path.name for path in (results / "mlartifacts").iterdir()} == {"toy"}
    assert {path.name for path in (shared / "mlartifacts").iterdir()} == {"other"}
