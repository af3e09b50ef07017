"""The whole workflow on almost nothing, for real."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

TARGET = "results/solids10_smoke.json"
TINY = """
datasets: {solids10: {train_per_class: 4, test_per_class: 1, points: 64}}
"""
LONG = """
datasets: {solids10: {train_per_class: 4, test_per_class: 1, points: 64}}
variants: {smoke: {training: {epochs: 12, batch_size: 2, early_batches: 10}}}
"""

pytestmark = pytest.mark.slow


def test_from_a_name_to_a_result_once(checkout):
    answer = checkout.snakemake("--cores", "2", targets=(TARGET,), config=TINY)
    assert answer.status == 0, answer.text
    result = json.loads((checkout.folder / TARGET).read_text())
    assert (result["dataset"], result["variant"]) == ("solids10", "smoke")
    assert 0 <= result["metrics"]["accuracy"]["mean"] <= 1
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{checkout.folder / 'results/mlflow.db'}")
    for run_id in (result["runs"]["train"]["0"], result["runs"]["fit"], result["runs"]["summarise"]):
        assert client.get_run(run_id).info.status == "FINISHED"
    assert result["settings"]["training"]["epochs"] == 1
    logs = {path.parent.name: path.read_text() for path in (checkout.folder / "results/logs").rglob("*.log")}
    assert "40 objects for training, 10 for the test, 0 left out" in logs["sample"]
    assert "50 mixtures of 16 Gaussians" in logs["fit"]
    assert "epoch 1 of 1: " in logs["train"]
    assert "test accuracy" in logs["evaluate"]
    assert "layer 1 -> " in logs["probe"]
    assert "a training step of " in logs["footprint"]
    assert "solids10_smoke: test accuracy" in logs["summarise"]

    again = checkout.snakemake("--cores", "2", targets=(TARGET,), config=TINY)
    assert again.status == 0
    assert "Nothing to be done" in again.text


def test_a_stopped_training_goes_on_where_it_was(checkout):
    folder = checkout.folder / "results/runs/solids10_smoke/seed0"
    target = "results/runs/solids10_smoke/seed0/training.json"
    process = checkout.start("--cores", "2", targets=(target,), config=LONG)
    history = folder / "history.csv"
    while not (history.is_file() and history.read_text().count("\n") > 2):
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    assert process.wait(timeout=120) != 0
    assert (folder / "last.ckpt").is_file()
    assert not (folder / "training.json").exists()

    answer = checkout.snakemake("--cores", "2", targets=(target,), config=LONG)
    assert answer.status == 0, answer.text
    assert "resuming from results/runs/solids10_smoke/seed0/last.ckpt" in answer.text
    rows = history.read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 13))
    assert json.loads((folder / "training.json").read_text())["resumed"] == 1
