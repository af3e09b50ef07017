"""The benchmarks run, with sizes that say nothing about speed, and leave what they promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from gmcn.artifacts import read_metadata, save_tensors
from gmcn.data.objects import TRAIN, read_split
from gmcn.models.loading import model_path
from gmcn.training.datamodule import TrainingData
from tests.conftest import ROOT

ALONE = ("train_step", "fidelity", "left_out", "registration", "voxels", "drawn")
SCRIPTS = [*sorted(path.stem for path in (ROOT / "benchmarks").glob("bm_*.py")), *ALONE]
FAST = "bm_evaluate"


def run(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / f"benchmarks/{script}.py", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "script", [script if script == FAST else pytest.param(script, marks=pytest.mark.slow) for script in SCRIPTS]
)
def test_a_benchmark(script, tmp_path):
    done = run(script, "--smoke", "--threads", "1", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    name = script.removeprefix("bm_")
    result = json.loads((tmp_path / f"{name}.json").read_text())
    assert result["rows"]
    assert not [row for row in result["rows"] if str(row.get("remark")).startswith("failed")]
    assert set(result["provenance"]) >= {"commit", "cpu", "command", "threads", "device", "cpu_path"}
    words = (tmp_path / f"{name}.md").read_text()
    assert result["provenance"]["command"] in words
    assert words in done.stdout
    if name == "scaling":
        assert {"scaling.png", "scaling.svg"} <= {path.name for path in tmp_path.iterdir()}
        assert set(result["slopes"]) == {"relu_fit", "reduce_treehem", "convolve_fit", "convolve_relu_nodes"}
    if name == "convolve_relu_nodes":
        assert {row["layer"] for row in result["rows"]} == {"1", "2", "all"}
        errors = [
            row["error"] for row in result["rows"] if row["way"] == "gmcn.ops.convolve_relu_nodes" and "error" in row
        ]
        assert len(errors) == 2
        assert max(errors) < 1e-5
    if name == "train_step":
        assert [row["fit_at"] for row in result["rows"]] == ["exact", 4]
        assert all(row["resident, MiB"] >= 0 for row in result["rows"])
    if name == "fidelity":
        ways = [row["layers"] for row in result["rows"] if row["network"] == "modelnet10_small"]
        assert ways == ["exact", "r = 8", "r = 4", "r = 2", "r = 1", "convolve_fit 4"]


def test_the_summary_judges_what_was_measured(tmp_path):
    rows = [
        {"batch": 4, "fit_at": "exact", "threads": 2, "seconds": 2.0, "ratio": 1.6},
        {"batch": 21, "fit_at": "exact", "threads": 1, "ms/shape": 400.0, "resident, MiB": 200.0},
        {"batch": 21, "fit_at": 4, "threads": 1, "ms/shape": 20.0, "resident, MiB": 150.0},
        {"batch": 21, "fit_at": 4, "threads": 2, "ms/shape": 12.0},
    ]
    made = {"device": "cpu", "smoke": False, "cpu_path": "avx512", "threads": 2, "commit": "abc"}
    (tmp_path / "train_step.json").write_text(json.dumps({"rows": rows, "provenance": made}))
    done = run("summary", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = {row["what"]: row["verdict"] for row in json.loads((tmp_path / "summary.json").read_text())["rows"]}
    assert verdicts["training step, batch 4: seconds"] == "met"
    assert verdicts["training step, batch 4: peak over minimum"] == "NOT MET"
    assert verdicts["training step, batch 21, r = 4, 2 threads: ms per shape"] == "met"
    assert verdicts["training step, batch 21, r = 4: peak memory over exact"] == "met"
    assert verdicts["training step, batch 21, r = 2, 2 threads: ms per shape"] == "not measured"
    assert verdicts["relu_fit, forward: slope from 256 to 16,384"] == "not measured"


def test_fidelity_is_measured_on_what_was_held_out(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import fidelity

    metadata = read_metadata(model_path(Path("digits_treehem2")))
    count = 40
    tensors = {"labels": torch.arange(count) % 10, "split": torch.zeros(count, dtype=torch.long)}
    tensors |= {"weights": torch.arange(1.0, count + 1)[:, None], "positions": torch.zeros(count, 1, 2)}
    tensors |= {"covariances": torch.eye(2).expand(count, 1, 2, 2).contiguous()}
    save_tensors(tmp_path / "digits.safetensors", tensors, {"class_names": metadata["class_names"]})
    fraction = metadata["settings"]["training"]["validation_fraction"]
    data = read_split(tmp_path / "digits.safetensors", TRAIN)
    indices = TrainingData(data, batch_size=8, seed=metadata["seed"], validation_fraction=fraction).validation_indices
    mixture, labels = fidelity.held_out("digits_treehem2", tmp_path / "digits.safetensors", count)
    assert mixture.weights[:, 0].tolist() == (indices + 1).tolist()
    assert labels.tolist() == (indices % 10).tolist()
    assert len(fidelity.held_out("digits_treehem2", tmp_path / "digits.safetensors", 3)[1]) == 3


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_busy_processes_end_with_whoever_started_them(how):
    # What runs in the background of a shell ignores SIGINT.
    code = "import signal, time, bm_shared\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "with bm_shared.busy(2) as ids:\n    print(*ids, flush=True)\n    time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "benchmarks", env=environment, **pipes) as main:
        started = [psutil.Process(int(word)) for word in main.stdout.readline().split()]
        assert len(started) == 2
        main.send_signal(how)
    assert psutil.wait_procs(started, timeout=60)[1] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_check_without_a_gpu(tmp_path):
    done = run("gpu_check", "--output", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr == "gpu-check: torch sees no GPU on this machine; run it on one that has a GPU.\n"
    assert not (tmp_path / "none").exists()
