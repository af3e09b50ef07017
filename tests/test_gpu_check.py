"""The parts of gpu_check that need no GPU, and the whole of it on the CPU: what is known is on the disk at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    """The benchmarks find each other beside themselves, as scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_cuda_is_found_behind_a_script_called_nvcc(tmp_path):
    wrapper = tmp_path / "bin" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho '#$ _NVVM_BRANCH_=nvvm' >&2\necho '#$ _HERE_=/opt/real/cuda/bin' >&2\n")
    wrapper.chmod(0o755)
    code = "import os, runpy, sys; sys.argv = ['setup.py', '--name']; runpy.run_path('setup.py')"
    code += "; print(os.environ.get('CUDA_HOME'))"

    def home(**variables):
        plain = {name: value for name, value in os.environ.items() if name not in ("CUDA_HOME", "CUDA_PATH")}
        plain |= {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", **variables}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=plain, capture_output=True, text=True, check=True
        )
        return done.stdout.split()[-1]

    assert home() == "/opt/real/cuda"
    assert home(CUDA_HOME="/mine") == "/mine"
    (tmp_path / "include").mkdir()
    (tmp_path / "include/cuda_runtime.h").touch()
    assert home() == "None", "torch finds it itself"


def test_steps_find_the_programs_of_this_python_first(monkeypatch, tmp_path):
    import gpu_machine

    link = tmp_path / "python3"
    link.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(link))
    folders = gpu_machine.search_path().split(os.pathsep)
    assert folders[0] == str(tmp_path), "where ninja is, not where the link leads"
    assert "/usr/local/cuda/bin" in folders[:3]


def run(tmp_path, code, limit=60.0, tell=lambda: None, **settings):
    from gpu_steps import Step, run

    log = tmp_path / "log"
    log.touch()
    return run(Step("a step", (sys.executable, "-c", code), limit, **settings), limit, log, tell)["state"]


def test_the_states_of_a_step(tmp_path):
    assert run(tmp_path, "") == "good"
    assert run(tmp_path, "raise SystemExit(66)") == "FAILED (status 66)"
    assert run(tmp_path, "raise SystemExit(66)", aid=True) == "to be looked at (status 66)"
    once = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'tried')!r}); sys.exit(p.exists() or p.touch() or 3)"
    assert run(
        tmp_path, once.replace("p.exists() or p.touch() or 3", "0 if p.exists() else p.touch() or 3"), tries=2
    ) == ("good")


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    pid = tmp_path / "pid"
    code = f"""if True:
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(pid)!r}, "w").write(str(child.pid))
        time.sleep(600)
    """
    told = []
    assert run(tmp_path, code, limit=8, tell=lambda: told.append(1)) == "OUT OF TIME (8 s)"
    assert told, "what is known is written while it runs"
    deadline = time.monotonic() + 10
    while _lives(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(int(pid.read_text()))


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "zombie" not in status.read_text()
    except OSError:
        return False


def test_the_report_reads_what_tests_have_printed_so_far(tmp_path):
    import gpu_report

    log = """
tests/ops/test_cuda.py::test_strides[evaluate] PASSED                    [ 25%]
tests/ops/test_cuda.py::test_streams[relu fit] FAILED                    [ 50%]
[gw0] [ 75%] PASSED tests/ops/test_evaluate.py::test_values[a b-3]
[gw1] [ 80%] FAILED tests/ops/test_evaluate.py::test_other[x]
FAILED tests/ops/test_evaluate.py::test_other[x] - AssertionError
tests/ops/test_evaluate.py::test_that_runs
"""
    (tmp_path / "results").mkdir()
    rows = [{"batch": 21, "seconds": 0.05, "shapes/s": 420.0}, {"batch": 64, "seconds": None}]
    (tmp_path / "results/train_step.json").write_text(json.dumps({"rows": rows}))
    cases = [{"operation": "evaluate", "dtype": "float32", "D": 3, "N": 1, "verdict": "NOT FINISHED"}]
    (tmp_path / "results/exercise.json").write_text(json.dumps({"rows": cases}))
    steps = [{"step": "tests", "state": "running", "seconds": 0.0}]
    gpu_report.write(tmp_path, tmp_path / "results", {"device": "cuda"}, steps, log)
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["tests"].values()) == ["PASSED", "FAILED", "PASSED", "FAILED"]
    assert report["extrapolated_epochs"][0]["s per epoch"] == pytest.approx(172 * 0.05, rel=0.01)
    assert report["extrapolated_epochs"][0]["epochs in 420 s"] == 46
    words = (tmp_path / "report.md").read_text()
    assert "2 passed, 2 failed" in words
    assert "- tests/ops/test_cuda.py::test_streams[relu fit]: FAILED" in words
    assert "operation evaluate, dtype float32, D 3, N 1, verdict NOT FINISHED" in words


@pytest.fixture
def exercised(monkeypatch, tmp_path):
    """A function that exercises these cases alone, one size each, and returns status and verdicts."""
    import gpu_exercise

    def exercise(*cases):
        monkeypatch.setattr(gpu_exercise, "DTYPES", (torch.float32,))
        monkeypatch.setattr(gpu_exercise, "cases", lambda dim, n, dtype: iter(cases if (dim, n) == (3, 1) else ()))
        monkeypatch.setattr(sys, "argv", ["gpu_exercise", "--device", "cpu", "--output", str(tmp_path)])
        status = gpu_exercise.main()
        rows = json.loads((tmp_path / "exercise.json").read_text())["rows"]
        return status, {row["operation"]: row["verdict"] for row in rows}

    return exercise


def drifting(name, error):
    """A case whose result is off by ``error`` in float32, at every second call: the CPU's own is right."""
    calls = []

    def function(values):
        calls.append(values.dtype)
        wrong = calls.count(torch.float32) == 1 and values.dtype == torch.float32
        return values * (1 + error * torch.tensor([1.0, -1.0, 0.0]).to(values)) if wrong else values * 1.0

    return name, (torch.tensor([1.0, 1.0, 3.0]),), function


def test_verdicts_on_kernels(exercised):
    def broken(values):
        raise RuntimeError("no kernel")

    ones = (torch.ones(3),)
    status, verdicts = exercised(
        drifting("right", 1e-7),
        drifting("off", 1e-2),
        drifting("reduce_treehem", 1e-2),
        ("broken", ones, broken),
        ("not finite", ones, lambda values: values / (values.dtype == torch.float64)),
    )
    assert status == 1
    assert verdicts == {
        "right": "good",
        "off": "WRONG",
        "reduce_treehem": "other merges",
        "broken": "FAILED: no kernel",
        "not finite": "WRONG",
    }


def test_the_exercise_goes_on_behind_a_case_that_ended_it(exercised):
    class Crash(BaseException):
        pass

    def crash(values):
        raise Crash

    cases = drifting("first", 0.0), ("crash", (torch.ones(3),), crash), drifting("last", 0.0)
    with pytest.raises(Crash):
        exercised(*cases)
    assert exercised(*cases) == (1, {"first": "good", "crash": "NOT FINISHED", "last": "good"})


def test_libraries_that_do_not_load_are_not_taken(tmp_path):
    import gpu_library

    assert "_kernels.*so does not exist" in gpu_library.main(str(tmp_path), "cpu")
    (tmp_path / "_kernels.abi3.so").write_bytes(b"nothing")
    assert f"the libraries in {tmp_path} do not do here: " in gpu_library.main(str(tmp_path), "cpu")
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "gmcn").glob("*.so")}
    assert gpu_library.main(str(ROOT / "gmcn"), "cpu") is None, "those that are there"
    assert before == {path: path.stat().st_mtime_ns for path in (ROOT / "gmcn").glob("*.so")}
