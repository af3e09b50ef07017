"""A twin of a machine with a GPU, without the GPU: another Python, torch 2.11, nothing that only the workflow needs.

GMCN_TWIN names a virtual environment that is one; without it the test makes one with pip, of Python 3.12 where there is
one. It works on a copy of the checkout without git, gmcn is not installed, and the libraries are carried.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.training.conftest import NETWORK, TRAINING, make_mixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PACKAGES = "torch==2.11.0 numpy lightning torchmetrics safetensors rich pyyaml setuptools<82 wheel pybind11 ninja"
PACKAGES += " pytest pytest-xdist pytest-timeout hypothesis"
ABSENT = ("mlflow", "jsonschema", "snakemake", "gmcn")
LEFT_OUT = shutil.ignore_patterns(".*", "*.so", "results", "build", "site", "__pycache__", "*.egg-info")
# Something else may keep the machine busy; the budget is for what it says all the same.
BUDGET = 200


def run(twin, *arguments, cwd, timeout=1800, **variables):
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(twin / "bin" / "python"), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=plain | variables, capture_output=True, text=True, check=False, timeout=timeout
    )


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The virtual environment."""
    if given := os.environ.get("GMCN_TWIN"):
        folder = Path(given)
    else:
        folder = tmp_path_factory.mktemp("twin") / "environment"
        python = shutil.which("python3.12") or sys.executable
        subprocess.run([python, "-m", "venv", folder], check=True)
        done = run(folder, "-m", "pip", "install", "--quiet", *PACKAGES.split(), cwd=ROOT)
        if done.returncode:
            pytest.skip(f"pip cannot install the twin: {done.stderr.splitlines()[-1:]}")
    code = (
        f"import importlib.util as u, sys, torch; print([n for n in {ABSENT} if u.find_spec(n)], sys.version.split()[0]"
    )
    done = run(folder, "-c", f"{code}, torch.__version__)", cwd=folder)
    assert done.stdout.startswith("[] "), f"{done.stdout}{done.stderr}"
    print(f"the twin has Python and torch {done.stdout[3:]}")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the working tree, without git and without anything that was built."""
    folder = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    return folder


@pytest.fixture(scope="module")
def library(twin, checkout, tmp_path_factory):
    """A folder of the libraries that the twin has built, for the CPU alone; none is left in the checkout."""
    folder = tmp_path_factory.mktemp("library")
    done = run(twin, "setup.py", "-q", "build_ext", "--inplace", cwd=checkout, CUDA_HOME="none")
    assert done.returncode == 0, done.stderr
    for path in (checkout / "gmcn").glob("*.so"):
        shutil.move(path, folder)
    assert len(list(folder.iterdir())) >= 2
    return folder


def report(folder):
    assert len(list(folder.iterdir())) <= 8
    return json.loads((folder / "report.json").read_text())


def test_gpu_check_ends_within_its_budget_with_all_that_it_is_for(twin, checkout, library, tmp_path):
    output = tmp_path / "out"
    arguments = ["--device", "cpu", "--library", library, "--seconds-at-most", BUDGET, "--output", output]
    begin = time.monotonic()
    done = run(twin, "benchmarks/gpu_check.py", *arguments, cwd=checkout)
    seconds = time.monotonic() - begin
    print(done.stdout)
    assert seconds < BUDGET, done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    found = report(output)
    states = {step["step"]: step["state"] for step in found["steps"]}
    assert states["library"] == "good"
    assert "build" not in states
    assert found["machine"]["versions"]["torch"].startswith("2.11")
    assert {row["verdict"] for row in found["results"]["exercise"]["rows"]} <= {"good", "NOT FINISHED"}
    assert found["results"]["train_step"]["rows"][0]["batch"] == 4
    if states["training step"] == "good":  # else the machine was too busy for more
        assert found["results"]["train_step"]["rows"][0]["seconds"]
        assert "PASSED" in found["tests"].values()
    assert "FAILED" not in found["tests"].values()


def test_gpu_check_that_is_killed_leaves_what_was_known(twin, checkout, library, tmp_path):
    output = tmp_path / "out"
    command = [twin / "bin/python", "benchmarks/gpu_check.py", "--device", "cpu", "--library", library]
    process = subprocess.Popen([*map(str, command), "--output", str(output)], cwd=checkout, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    try:
        while time.monotonic() < deadline:
            time.sleep(1)
            path = output / "report.json"
            if path.exists() and len(json.loads(path.read_text())["results"].get("exercise", {"rows": ()})["rows"]) > 5:
                break
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = report(output)
    assert found["machine"]["versions"]["torch"]
    assert [step["state"] for step in found["steps"]][:1] == ["good"]
    assert len(found["results"]["exercise"]["rows"]) > 5
    assert "Every kernel beside the CPU" in (output / "report.md").read_text()
    assert (output / "gpu_check.log").stat().st_size


def test_gpu_check_without_a_gpu_is_one_sentence(twin, checkout, tmp_path):
    done = run(twin, "benchmarks/gpu_check.py", "--output", tmp_path / "none", cwd=checkout)
    if done.returncode != 2:
        pytest.skip("there is a GPU")
    assert done.stderr == "gpu-check: torch sees no GPU on this machine; run it on one that has a GPU.\n"


def test_gpu_train_runs_to_its_end(twin, checkout, library, tmp_path):
    for path in library.iterdir():
        shutil.copy(path, checkout / "gmcn")
    mixtures = make_mixtures(tmp_path / "mixtures.safetensors")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"network": NETWORK, "training": TRAINING}))
    output = tmp_path / "out"
    arguments = ["--mixtures", mixtures, "--settings", settings, "--device", "cpu", "--output", output]
    done = run(twin, "benchmarks/gpu_train.py", *arguments, "--seconds-at-most", 300, cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stderr
    made = {path.name for path in output.iterdir()}
    assert made >= {"model.safetensors", "training.json", "evaluation.json", "history.csv", "last.ckpt", "train.log"}
    assert len(made) <= 8
