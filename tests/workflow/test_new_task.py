"""A new task is one folder of two files: what it needs of the workflow is there already."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.workflow.conftest import Checkout

CONFIG = """
datasets: {solids10: {train_per_class: 4, test_per_class: 1, points: 64}}
variants:
  elongated:
    task: elongation
    fit: null
    seeds: [0]
    network: {kind: pointnet}
    training: {epochs: 1, batch_size: 16, early_batches: 3, validation_fraction: 0.2}
tables:
  elongations:
    {title: Elongations, dataset: solids10, columns: [error, rival_error, minutes], rows: [{variant: elongated}]}
"""
RESULT, TABLE = "results/solids10_elongated.json", "results/tables/elongations.md"
CLASSES = "results/solids10_smoke.json"
FOLDER = "results/runs/solids10_elongated"


@pytest.fixture
def with_task(checkout: Checkout) -> Checkout:
    """A checkout with one folder more."""
    shutil.copytree(Path(__file__).with_name("elongation"), checkout.folder / "gmcn/tasks/elongation")
    return checkout


@pytest.mark.slow
def test_it_is_trained_evaluated_tabled_and_tracked(with_task):
    folder = with_task.folder
    answer = with_task.snakemake("--cores", "2", targets=(RESULT,), config=CONFIG)
    assert answer.status == 0, answer.text
    result = json.loads((folder / RESULT).read_text())
    assert (result["format"], result["task"], result["headline"]) == (2, "elongation", "error")
    assert result["input"]["kind"] == "points"
    assert result["metrics"].keys() == {"error", "rival_error"}
    assert result["measures"]["footprint"]["measured"]["bytes"] > 0
    assert result["history"]["0"].keys() >= {"validation_squared_error"}
    assert (folder / FOLDER / "pictures/elongation.png").read_bytes().startswith(b"\x89PNG")

    answer = with_task.snakemake("--cores", "2", targets=(TABLE,), config=CONFIG)
    assert answer.status == 0, answer.text
    table = (folder / TABLE).read_text()
    assert "mean absolute error | that of the test split's mean | training (min)" in table
    assert f"| elongated | {result['metrics']['error']['mean']:.4f} |" in table
    answers_about_a_cloud(folder)
    is_tracked(folder, result)


def answers_about_a_cloud(folder: Path) -> None:
    np.savetxt(folder / "mine.xyz", np.random.default_rng(0).normal(size=(64, 3)))
    command = [sys.executable, "-m", "gmcn", "predict", RESULT, "mine.xyz"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    head, row = (line.split() for line in said.stdout.splitlines())
    assert (head, row[0]) == (["file", "elongation"], "mine.xyz")
    assert np.isfinite(float(row[1]))


def is_tracked(folder: Path, result: dict) -> None:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("gmcn/solids10")
    runs = client.search_runs([experiment.experiment_id])
    [parent] = (run for run in runs if run.data.tags.get("gmcn.result") == "solids10_elongated")
    below = {
        run.data.tags["gmcn.stage"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert below.keys() == {"train", "evaluate", "footprint", "summarise"}
    assert {run.info.status for run in (parent, *below.values())} == {"FINISHED"}
    assert parent.data.metrics["error"] == result["metrics"]["error"]["mean"]
    assert below["evaluate"].data.metrics.keys() >= {"test/error", "test/rival_error"}
    pictures = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"elongation.png", "curves.png"} <= pictures


def test_an_edit_of_it_concerns_nothing_else(with_task):
    made = ["results/points/solids10.safetensors", "results/mixtures/solids10_kmeans16.safetensors"]
    for variant, evaluated in (("smoke", "confusion.png"), ("elongated", "pictures/elongation.png")):
        run = f"results/runs/solids10_{variant}"
        made += [f"{run}/seed0/{name}" for name in ("model.safetensors", "history.csv", "training.json")]
        made += [f"{run}/{name}" for name in ("evaluation.json", "footprint.json", "curves.png", evaluated)]
    targets = (RESULT, CLASSES)
    files = [*made, "results/runs/solids10_smoke/rmse.json", *targets]
    with_task.pretend(*targets, files=files, config=CONFIG)
    assert with_task.plan(*targets, config=CONFIG) == {}
    measured = {"evaluate_task": 1, "summarise": 1}
    edit(with_task, "measures")
    assert with_task.plan(*targets, config=CONFIG) == measured
    edit(with_task, "objective")
    assert with_task.plan(*targets, config=CONFIG) == {"train": 1, "footprint": 1, **measured}


def edit(checkout: Checkout, part: str) -> None:
    with (checkout.folder / f"gmcn/tasks/elongation/{part}.py").open("a") as file:
        file.write("# edited\n")
