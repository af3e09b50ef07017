"""A mixture of a whole data set by name: the same chain as any network's, and its table beside rivals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.workflow.conftest import Checkout

RESULT, RIVAL, TABLE = (
    "results/digits_mfa-25x4.json",
    "results/rivals/digits_outliers-ppca.json",
    "results/tables/density-digits.md",
)
RUN = "results/runs/digits_mfa-25x4"
CONFIG = "variants: {mfa-100x10: {seeds: [0, 1], training: {epochs: 5}, samples: {count: 500, bins: 20}}}"


@pytest.mark.slow
def test_from_a_name_to_a_result_and_a_table(checkout: Checkout):
    answer = checkout.snakemake("--cores", "2", targets=(RESULT, RIVAL, TABLE), config=CONFIG)
    assert answer.status == 0, answer.text
    result = json.loads((checkout.folder / RESULT).read_text())
    assert (result["task"], result["fit"], result["input"]["kind"]) == ("density", None, "images")
    assert result["parameters"] == 25 * (1 + 64 + 64 + 4 * 64)
    assert set(result["measures"]) == {"footprint", "samples"}
    assert 0 < result["measures"]["samples"]["test"]["js"] < result["measures"]["samples"]["missing"]["js"]
    area, likelihood = (result["metrics"][name]["mean"] for name in ("auc", "log_likelihood"))
    assert area > 0.9
    assert set(result["details"]["outliers"]["mean"]) == set("56789")
    for picture in ("samples", "components", "outliers"):
        assert (checkout.folder / RUN / f"pictures/{picture}.png").read_bytes().startswith(b"\x89PNG")
    rows = (checkout.folder / TABLE).read_text()
    assert f"| 25 components x 4 factors | {area:.3f} ± " in rows
    assert f"| {likelihood:.1f} ± " in rows
    assert "| probabilistic principal components | 0." in rows

    command = ["predict", RESULT, "results/points/digits.safetensors", "--output", "said.json"]
    environment = {**os.environ, "PYTHONPATH": str(checkout.folder)}
    arguments = {"cwd": checkout.folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-m", "gmcn", *command], **arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["file", "log_likelihood", "less_likely", "class", "probability"]
    said = json.loads((checkout.folder / "said.json").read_text())["predictions"]
    assert len(said) == 1797
