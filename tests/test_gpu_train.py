"""A training within a budget, stopped on one machine and gone on with on another: in two folders, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from gmcn.artifacts import load_tensors, read_json
from tests.conftest import ROOT
from tests.training.conftest import NETWORK, TRAINING, make_mixtures

FILES = {"model.safetensors", "training.json", "history.csv", "last.ckpt", "evaluation.json", "train.log"}


@pytest.fixture
def command(tmp_path):
    """Arguments that start the training of a tiny network, from a file of settings."""
    mixtures = make_mixtures(tmp_path / "mixtures.safetensors")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"network": NETWORK, "training": {**TRAINING, "epochs": 60}}))
    common = ["--mixtures", mixtures, "--settings", settings, "--device", "cpu", "--threads", "1"]
    return [sys.executable, ROOT / "benchmarks/gpu_train.py", *map(str, common)]


def environment():
    """As on a machine where gmcn is not installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def call(command, *more):
    return subprocess.run(
        [*command, *map(str, more)], env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def rows(folder):
    path = folder / "history.csv"
    return path.read_text().splitlines()[1:] if path.exists() else []


def stopped(command, output):
    """The call that a signal has ended after some epochs."""
    process = subprocess.Popen(
        [*command, "--output", str(output)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while len(rows(output)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=100)[0]
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.slow
def test_stopped_and_gone_on_with_elsewhere_it_ends_with_the_same_bits(command, tmp_path):
    straight = call(command, "--output", tmp_path / "straight")
    assert straight.returncode == 0, straight.stderr
    assert {path.name for path in (tmp_path / "straight").iterdir()} >= FILES
    status, said = stopped(command, tmp_path / "first")
    assert status == 3, said
    assert f"Go on with --resume {tmp_path / 'first'}." in said
    assert 2 <= len(rows(tmp_path / "first")) < 60
    second = call(command, "--output", tmp_path / "second", "--resume", tmp_path / "first")
    assert second.returncode == 0, second.stderr
    weights, others = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("straight", "second"))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert read_json(tmp_path / "second/training.json")["resumed"] == 1
    accuracies = [read_json(tmp_path / name / "evaluation.json")["mean"] for name in ("straight", "second")]
    assert accuracies[0] == accuracies[1]
    files = list((tmp_path / "second").iterdir())
    assert len(files) <= 8
    assert all(path.stat().st_size < 16 * 2**20 for path in files)
    assert "test accuracy" in (tmp_path / "second/train.log").read_text()
    assert len(rows(tmp_path / "second")) == 60


@pytest.mark.slow
def test_the_budget_ends_it_in_time(command, tmp_path):
    begin = time.monotonic()
    done = call(command, "--output", tmp_path / "out", "--epochs", 100000, "--seconds-at-most", 40)
    assert time.monotonic() - begin < 41
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "out/model.safetensors").exists()


@pytest.mark.slow
def test_what_belongs_to_another_training_is_not_gone_on_with(command, tmp_path):
    assert stopped(command, tmp_path / "first")[0] == 3
    other = call(command, "--output", tmp_path / "second", "--resume", tmp_path / "first", "--epochs", 5)
    assert other.returncode == 2
    assert "not one of these mixtures, settings and seed; nothing was trained" in other.stderr
    assert not rows(tmp_path / "second") or rows(tmp_path / "second") == rows(tmp_path / "first")
    nothing = call(command, "--output", tmp_path / "third", "--resume", tmp_path / "none")
    assert nothing.returncode == 2
    assert nothing.stderr == f"gmcn: error: --resume: there is no last.ckpt in {tmp_path / 'none'}\n"


def test_settings_of_a_variant_are_shown(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/gpu_train.py")]
    done = call(command, "--dataset", "digits", "--variant", "treehem2", "--show-settings", "--epochs", 3)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["training"]["epochs"] == 3
    missing = call(command, "--mixtures", "none.safetensors")
    assert missing.returncode == 2
    assert missing.stderr.startswith("gmcn: error: what to train is not said: give --settings FILE")
