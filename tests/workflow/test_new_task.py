"""A task is one folder of two files: with no other edit the workflow trains, measures, tables and tracks it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gmcn.artifacts import load_tensors
from tests.workflow.conftest import Checkout

TASK = Path(__file__).parent / "elongation"
RESULT, OTHER, TABLE = "results/solids10_longish.json", "results/solids10_smoke.json", "results/tables/lengths.md"
RUN = "results/runs/solids10_longish"
CONFIG = """
datasets: {solids10: {train_per_class: 3, test_per_class: 1, points: 64}}
variants:
  longish:
    task: elongation
    fit: null
    seeds: [0]
    network: {kind: pointnet}
    training: {epochs: 1, batch_size: 8, early_batches: 3, warmup_epochs: 0, validation_fraction: 0.3}
tables:
  lengths: {title: Lengths, dataset: solids10, columns: [error, rival, parameters], rows: [{variant: longish}]}
"""
MADE = """
points/solids10.safetensors mixtures/solids10_kmeans16.safetensors solids10_longish.json solids10_smoke.json
runs/solids10_longish/evaluation.json runs/solids10_longish/pictures/elongation.png
runs/solids10_longish/footprint.json runs/solids10_longish/curves.png
runs/solids10_longish/seed0/model.safetensors runs/solids10_longish/seed0/history.csv
runs/solids10_longish/seed0/training.json
runs/solids10_smoke/evaluation.json runs/solids10_smoke/confusion.png runs/solids10_smoke/mistakes.png
runs/solids10_smoke/rmse.json
runs/solids10_smoke/footprint.json runs/solids10_smoke/curves.png
runs/solids10_smoke/seed0/model.safetensors runs/solids10_smoke/seed0/history.csv
runs/solids10_smoke/seed0/training.json
tables/lengths.md tables/lengths.html tables/lengths.csv tables/lengths.tex
"""


@pytest.fixture
def with_task(checkout: Checkout) -> Checkout:
    """A checkout to which one folder was added."""
    shutil.copytree(TASK, checkout.folder / "gmcn/tasks/elongation", ignore=shutil.ignore_patterns("__pycache__"))
    return checkout


@pytest.mark.slow
def test_a_task_is_trained_measured_tabled_and_tracked_and_answers(with_task: Checkout):
    answer = with_task.snakemake("--cores", "2", targets=(RESULT, TABLE), config=CONFIG)
    assert answer.status == 0, answer.text
    result = json.loads((with_task.folder / RESULT).read_text())
    assert (result["format"], result["task"], result["fit"]) == (2, "elongation", None)
    assert (result["input"]["kind"], result["headline"], result["larger_is_better"]) == ("points", "error", False)
    assert result["parameters"] > 3e6
    assert set(result["measures"]) == {"footprint"}
    assert {"loss", "error"} <= set(result["validation"]["0"])
    found = {name: metric["mean"] for name, metric in result["metrics"].items()}
    assert set(found) == {"error", "rival"}
    evaluation = json.loads((with_task.folder / RUN / "evaluation.json").read_text())["seeds"]["0"]
    errors = [abs(said - true) for said, true in zip(evaluation["said"], evaluation["true"], strict=True)]
    assert found["error"] == pytest.approx(sum(errors) / 10)
    assert (with_task.folder / RUN / "pictures/elongation.png").read_bytes().startswith(b"\x89PNG")
    check_table(with_task, found)
    check_runs(with_task, result, found)
    check_answers(with_task, evaluation)


def check_table(checkout: Checkout, found: dict[str, float]) -> None:
    """The columns are the task's metrics, and the row is that of the result which the same call has made."""
    heading, _, row = [line for line in (checkout.folder / TABLE).read_text().splitlines() if line.startswith("|")]
    assert heading.startswith("|  | mean absolute error | error of the mean | parameters |")
    assert row.startswith(f"| longish | {found['error']:.3f} | {found['rival']:.3f} | 3,463,")
    cells = list(csv.DictReader((checkout.folder / TABLE).with_suffix(".csv").read_text().splitlines()))
    assert len(cells) == 3


def check_runs(checkout: Checkout, result: dict, found: dict[str, float]) -> None:
    """The runs of the stages lie below that of the result, which has the headline and the pictures."""
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{checkout.folder / 'results/mlflow.db'}")
    runs = [client.get_run(run) for run in (result["runs"]["train"]["0"], result["runs"]["evaluate"])]
    [parent] = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert runs[1].data.metrics["test/error"] == found["error"]
    parent = client.get_run(parent)
    assert (parent.info.run_name, parent.info.status) == ("solids10_longish", "FINISHED")
    assert {name: parent.data.metrics[name] for name in found} == found
    assert parent.data.params["task"] == "elongation"
    pictures = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"curves.png", "elongation.png"} <= pictures


def check_answers(checkout: Checkout, evaluation: dict) -> None:
    """``gmcn predict`` says of the artifact's objects what the evaluation does, and something of a user's cloud."""
    points = "results/points/solids10.safetensors"
    tensors, _ = load_tensors(checkout.folder / points)
    cloud = checkout.folder / "cloud.xyz"
    cloud.write_text("".join(f"{x} {y} {z}\n" for x, y, z in tensors["points"][0].tolist()))
    command = [sys.executable, "-m", "gmcn", "predict", f"{RUN}/seed0/model.safetensors", points, "cloud.xyz"]
    environment = {**os.environ, "PYTHONPATH": str(checkout.folder)}
    done = subprocess.run(
        [*command, "--output", "said.json"], cwd=checkout.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["file", "elongation"]
    said = [row["elongation"] for row in json.loads((checkout.folder / "said.json").read_text())["predictions"]]
    of_test = [value for value, split in zip(said[:-1], tensors["split"].tolist(), strict=True) if split]
    assert of_test == pytest.approx(evaluation["said"], rel=1e-4)
    assert said[-1] == pytest.approx(said[0], rel=1e-3)


def test_an_edit_of_a_task_reruns_nothing_of_another(with_task: Checkout):
    targets = (RESULT, OTHER, TABLE)
    with_task.pretend(*targets, files=[f"results/{name}" for name in MADE.split()], config=CONFIG)
    assert with_task.plan(*targets, config=CONFIG) == {}
    measured = {"evaluate_task": 1, "summarise": 1, "table": 1}
    expected = {
        "elongation/objective": {"train": 1, "footprint": 1, **measured},
        "elongation/measures": measured,
        "classification/measures": {"evaluate": 1, "summarise": 1},
    }
    for name, jobs in expected.items():
        path = with_task.folder / f"gmcn/tasks/{name}.py"
        before = path.read_text()
        path.write_text(f"{before}\n# edited\n")
        assert with_task.plan(*targets, config=CONFIG) == jobs, name
        path.write_text(before)
