"""The benchmarks run, with sizes that say nothing about speed, and leave what they promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch

from tests.conftest import ROOT

SCRIPTS = [*sorted(path.stem for path in (ROOT / "benchmarks").glob("bm_*.py")), "train_step"]
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
        assert set(result["slopes"]) == {"relu_fit", "reduce_treehem", "convolve_fit"}


def test_the_summary_judges_what_was_measured(tmp_path):
    rows = [{"batch": 4, "seconds": 2.0, "ratio": 1.6}]
    made = {"device": "cpu", "smoke": False, "cpu_path": "avx512", "threads": 2, "commit": "abc"}
    (tmp_path / "train_step.json").write_text(json.dumps({"rows": rows, "provenance": made}))
    done = run("summary", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = {row["what"]: row["verdict"] for row in json.loads((tmp_path / "summary.json").read_text())["rows"]}
    assert verdicts["training step, batch 4: seconds"] == "met"
    assert verdicts["training step, batch 4: peak over minimum"] == "NOT MET"
    assert verdicts["relu_fit, forward: slope from 256 to 16,384"] == "not measured"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_busy_processes_end_with_whoever_started_them(how):
    code = "import time, bm_shared\nwith bm_shared.busy(2) as ids:\n    print(*ids, flush=True)\n    time.sleep(60)"
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
