"""The examples run as they are, on data that they generate, and do what they say."""

from __future__ import annotations

import runpy

import pytest

from gmcn.pictures.shapes import read_shape
from tests.conftest import ROOT

EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}


def run(name: str, *arguments: object):
    return runpy.run_path(str(EXAMPLES[name]))["main"](list(map(str, arguments)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_page_and_is_named_on_the_page_of_examples(name):
    assert len(EXAMPLES[name].read_text().splitlines()) < 80
    assert f"`python examples/{name}.py`" in (ROOT / "examples/README.md").read_text()


def test_own_meshes_are_classified(tmp_path, capsys):
    run("own_meshes", "--output", tmp_path / "first")
    lines = capsys.readouterr().out.splitlines()
    found = [line.split() for line in lines if ".off" in line]
    assert len(found) == 12
    assert sum(file.startswith(name) for file, name, _ in found) >= 8
    assert (tmp_path / "first/first.png").read_bytes().startswith(b"\x89PNG")
    own = ("own_meshes", tmp_path / "first/meshes", "--output", tmp_path / "second", "--model", "modelnet10_small")
    run(*own)  # theirs, which another network classifies
    assert not (tmp_path / "second/run").exists()


def test_own_network_learns(capsys):
    accuracy = run("own_network", "--objects", 500, "--epochs", 5)
    assert accuracy > 0.5
    assert capsys.readouterr().out.count("epoch") == 5


def test_splats_become_fewer(tmp_path, capsys):
    error = run("splats", "--output", tmp_path, "--components", 1500)
    assert error < 0.5
    assert "reduced: 1,500 Gaussians" in capsys.readouterr().out
    after = read_shape(tmp_path / "fewer.ply").mixture
    assert after.components == 1500
    # What is written is what is read again: a whole scene comes back as it was.
    assert run("splats", tmp_path / "scene.ply", "--output", tmp_path / "same", "--components", 5000) < 1e-6
    before, same = (read_shape(path).mixture for path in (tmp_path / "scene.ply", tmp_path / "same/fewer.ply"))
    assert before.positions.equal(same.positions)
    for one, other in zip(before, same, strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def test_a_mixture_layer_takes_the_place_of_a_perceptron(capsys):
    accuracy, ratio = run("mixture_layer", "--epochs", 20)
    assert accuracy > 0.95
    assert 0.7 < ratio < 1.4
    assert "a network of 2000 neurons" in capsys.readouterr().out


def test_a_mixture_finds_outliers_and_fills_in_halves(capsys):
    area, ratio = run("fit_mixture")
    assert area > 0.97
    assert ratio < 0.7
    assert "scikit-learn's mixture as ours" in capsys.readouterr().out
