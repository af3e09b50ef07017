"""The package as `pip install .` leaves it: in an environment of its own that has what it asks for and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.training.conftest import make_mixtures

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONFIGURATION = """
datasets: {toy: {kind: digits}}
fits: {none: {method: kmeans, components: 8}}
variants:
  tiny:
    fit: none
    seeds: [0]
    network: {layers: [[2, 4]], kernel_components: 3}
    training: {epochs: 1, batch_size: 8}
    probe: {shapes: 2}
"""

pytestmark = pytest.mark.slow


def linked(asked: list[str], site: Path) -> None:
    """Put distributions of this environment, and all that they need, into another one's ``site``."""
    queue, seen = [Requirement(line) for line in asked], set()
    while queue:
        name = queue.pop().name
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another platform
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
        queue += [
            found
            for found in map(Requirement, distribution.requires or ())
            if not found.marker or found.marker.evaluate({"extra": ""})
        ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """One with the package, not editable. Its kernels are those that are built here already: that takes minutes."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    linked(["setuptools", *PROJECT["project"]["dependencies"]], site)
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    shutil.copytree(ROOT / "gmcn", source / "gmcn", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    python = str(folder / "env" / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-build-isolation", "--no-deps", "."]
    done = subprocess.run(install, cwd=source, env=clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for library in (ROOT / "gmcn").glob("*.so"):
        shutil.copy2(library, site / "gmcn")
    return folder / "env"


def clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}


@pytest.mark.parametrize("schema", ["checked", "no jsonschema"])
def test_a_node_that_only_trains_trains(environment, tmp_path, schema):
    """As docs/cluster.md says it."""
    (tmp_path / "config.yaml").write_text(CONFIGURATION)
    mixtures = make_mixtures(tmp_path / "toy_none.safetensors")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    if schema != "checked":
        (hidden / "jsonschema.py").write_text("raise ImportError('as if it were not there')")
    command = [environment / "bin" / "gmcn", "train", "--dataset", "toy", "--variant", "tiny"]
    command += ["--mixtures", mixtures, "--output", "run", "--seed", "0"]
    told = {**clean(), "PYTHONPATH": str(hidden)}
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert done.stderr.count("is not checked against its schema") == (schema != "checked")

    where = "import gmcn, importlib.util as u; print(gmcn.__file__, u.find_spec('mlflow'), u.find_spec('snakemake'))"
    asked = [environment / "bin" / "python", "-c", where]
    found, *missing = subprocess.check_output(asked, cwd=tmp_path, env=clean(), text=True).split()
    assert Path(found).is_relative_to(environment)
    assert missing == ["None", "None"]
    assert (Path(found).parent / "py.typed").is_file()  # type checkers of those who use it read its annotations


def test_a_configuration_that_includes_that_of_a_checkout_is_read(environment, tmp_path):
    (tmp_path / "config.yaml").write_text(
        f"include: [{ROOT / 'config.yaml'}]\nvariants: {{fast: {{base: paper-g16}}}}\n"
    )
    done = subprocess.run(
        [environment / "bin" / "gmcn", "names"], cwd=tmp_path, env=clean(), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines() if line]
    assert {"fast", "paper-g16", "treehem2", "digits", "digits_treehem2"} <= set(names)
