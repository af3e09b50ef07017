"""The site can be built without a warning, and its reference has every public name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGES = ("ops", "nn", "optim", "registration", "models", "fitting", "data", "training", "results", "inference")


@pytest.mark.slow
def test_the_site(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the tools of the site: pip install 'gmcn[docs]'")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'href="concepts.html"' in (tmp_path / "index.html").read_text()
    for package in ("gmcn", *(f"gmcn.{name}" for name in PACKAGES)):
        page = (tmp_path / f"api/{package}.html").read_text()
        names = importlib.import_module(package).__all__
        assert [name for name in names if f"{package}.{name}" not in page] == []
    methods = (tmp_path / "api/gmcn.html").read_text()
    assert [
        name for name in ("log_prob", "wasserstein", "state_dict") if f"GaussianMixture.{name}" not in methods
    ] == []
    shapes = (tmp_path / "api/gmcn.ops.html").read_text()
    assert "# [B, G, N*F*K]" in shapes
