"""A plain `pip install gmcn` leaves packages out: a command that needs one of them says so in a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from packaging.requirements import Requirement

import gmcn
from gmcn.data.samples import attempt
from gmcn.errors import EXTRA
from tests.conftest import ROOT
from tests.data.files import write_off
from tests.pictures.test_show import TETRAHEDRON

# `gmcn ARGUMENTS` where the modules that the first argument names are not installed.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from gmcn import cli
sys.exit(cli.main(sys.argv[2:]))
"""


def test_every_package_of_the_extra_is_known():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["workflow"]
    assert sorted(EXTRA.values()) == sorted(Requirement(line).name for line in asked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("extras")
    write_off(folder / "a.off", *TETRAHEDRON)
    Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save(folder / "a.png")
    return folder


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("point-cloud-utils", ["predict", "modelnet10_small", "a.off", "--device", "cpu"]),
        ("pillow", ["predict", "mnist_small", "a.png", "--device", "cpu"]),
        ("pillow", ["show", "a.png", "--output", "out.png"]),
        ("matplotlib", ["show", "a.off", "--output", "out.png"]),
        ("plotly", ["show", "a.off", "--output", "out.html"]),
        ("scikit-learn", ["sample", "--dataset", "d", "--settings", '{"kind": "digits"}', "--output", "out"]),
        ("point-cloud-utils", ["sample", "--dataset", "s", "--settings", '{"kind": "solids"}', "--output", "out"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_a_missing_package_is_one_sentence(folder, package, arguments):
    more = ["--tracking", "off", "--results", ".", "--threads", "1"] if arguments[0] == "sample" else []
    command = [sys.executable, "-c", WITHOUT, ",".join(EXTRA), *arguments, *more]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    sentence = f"this needs the package {package}, which is not installed: pip install 'gmcn[workflow]'"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"gmcn: error: {sentence}\n")
    assert not list(folder.glob("out*"))


def test_the_library_says_so_too(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'gmcn[workflow]'")) as caught:
        gmcn.predict("mnist_small", folder / "a.png", device="cpu")
    assert caught.value.name == "PIL"


def test_a_module_of_no_extra_stays_an_error_of_the_program():
    def load(item):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    with pytest.raises(ModuleNotFoundError, match="No module named 'other'"):
        attempt(load, None)
