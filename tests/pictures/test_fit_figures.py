"""The figures of fits: their objects, what is written under them, and what they refuse."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn import cli, config
from gmcn.artifacts import load_tensors, save_tensors
from gmcn.errors import InputError
from gmcn.pictures import fit_figures
from tests.conftest import ROOT
from tests.pictures.test_show import write_artifacts


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Points and two fits of a data set of clouds and of one of images."""
    folder = tmp_path_factory.mktemp("figures")
    write_artifacts(folder)
    for dataset in ("c", "i"):
        tensors, metadata = load_tensors(folder / f"mixtures/{dataset}_em.safetensors")
        metadata |= {"fit": "other", "quality": {"log_likelihood_train": 2.0, "seconds": 1234.5}}
        tensors = {**tensors, "covariances": 0.5 * tensors["covariances"]}
        save_tensors(folder / f"mixtures/{dataset}_other.safetensors", tensors, metadata)
    return folder


def draw(results, tmp_path, dataset: str, **settings):
    settings = {"fits": ["em", "other"], **settings}
    mixtures = [results / f"mixtures/{dataset}_{fit}.safetensors" for fit in settings["fits"]]
    points = results / f"points/{dataset}.safetensors"
    return fit_figures.draw_fits(
        settings=settings, points=points, mixtures=mixtures, output=tmp_path / f"{dataset}_fits"
    )


@pytest.mark.parametrize("dataset", ["c", "i"])
def test_three_files_the_same_every_time(results, tmp_path, dataset):
    written = draw(results, tmp_path, dataset)
    assert [path.name for path in written] == [f"{dataset}_fits.{form}" for form in ("png", "svg", "html")]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    content = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in draw(results, tmp_path, dataset)] == content
    page = content[2].decode()
    script = page[page.rindex("Plotly.newPlot(") :]
    for text in (
        "em",
        "other",
        "5 Gaussians",
        r"log-likelihood \u22121.250",
        "log-likelihood 2.000",
        "3.5 s",
        "1,234 s",
    ):
        assert text in script
    traces = {name: script.count(f'"legendgroup":"{name}"') for name in ("Gaussians", "points", "pixels", "values")}
    wanted = (2, 2, 0, 0) if dataset == "c" else (2, 0, 1, 2)
    assert tuple(traces.values()) == wanted


@pytest.mark.parametrize(
    ("dataset", "chosen", "names"),
    [
        ("c", None, ["c-1"]),  # the first test object
        ("i", None, ["i-1"]),  # the first of every class in the test split, where there is one
        ("c", ["c-2", 0], ["c-2", "c-0"]),
    ],
)
def test_the_objects_that_are_drawn(results, dataset, chosen, names):
    shapes, rows, all_names = fit_figures._objects(results / f"points/{dataset}.safetensors", chosen)
    assert [shape.name for shape in shapes] == names
    assert [all_names[row] for row in rows] == names


def test_mixtures_are_those_of_the_objects(results):
    names = load_tensors(results / "points/c.safetensors")[1]["names"]
    path = results / "mixtures/c_em.safetensors"
    fit = fit_figures._fit("em", path, [2, 0], names)
    torch.testing.assert_close(fit.mixtures[0].weights.float(), load_tensors(path)[0]["weights"][2])
    assert fit.lines() == ["em", "5 Gaussians", "log-likelihood −1.250", "3.5 s"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"shapes": ["c-9"]}, "unknown object of .* 'c-9'; did you mean 'c-"),
        ({"shapes": [3]}, "no object 3 in .*: it has 3, counted from 0"),
        ({"fits": ["gone"]}, "c_gone.safetensors does not exist"),
    ],
)
def test_what_is_not_there_is_one_sentence(results, tmp_path, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        draw(results, tmp_path, "c", **settings)
    assert list(tmp_path.iterdir()) == []


def test_artifacts_of_something_else_are_refused(results, tmp_path):
    points, mixtures = results / "points/c.safetensors", [results / "mixtures/i_em.safetensors"]
    some = {"points": points, "mixtures": mixtures, "output": tmp_path / "a"}
    with pytest.raises(InputError, match="was fitted to other objects than the points"):
        fit_figures.draw_fits(settings={"fits": ["em"]}, **some)
    with pytest.raises(InputError, match="is the fit em, but the figure wants kmeans"):
        fit_figures.draw_fits(settings={"fits": ["kmeans"]}, **some)
    with pytest.raises(InputError, match="has 2 fits, but 1 artifacts"):
        fit_figures.draw_fits(settings={"fits": ["em", "other"]}, **some)


def test_the_command_takes_paths_from_the_results(results, tmp_path):
    settings = json.dumps({"fits": ["em"], "shapes": [0], "up": "y"})
    arguments = ["--results", str(results), "--output", str(tmp_path / "a"), "--tracking", "off"]
    assert cli.main(["draw-fits", "--dataset", "c", "--settings", settings, *arguments]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.png", "a.svg"]


def test_the_configuration_of_figures():
    real = config.load(ROOT / "config.yaml")
    for dataset in real["datasets"]:
        assert config.figure_of(real, dataset)["fits"]
    own = {**real, "figures": {"default": {"fits": ["fps16"], "up": "y"}, "digits": {"shapes": [1]}}}
    assert config.figure_of(own, "digits") == {"fits": ["fps16"], "up": "y", "shapes": [1]}
    assert config.stage_settings(own, "draw-fits", "mnist", None) == {"fits": ["fps16"], "up": "y"}
    with pytest.raises(InputError, match="has no fits for a figure of digits"):
        config.figure_of({**real, "figures": {}}, "digits")
    for figures, sentence in [
        ({"digit": {}}, "unknown data set 'digit'"),
        ({"digits": {"fits": ["kmean16"]}}, "unknown fit 'kmean16'; did you mean 'kmeans16'"),
        ({"default": {"shapes": [-1]}}, "figures.default.shapes.0.*must be at least 0"),
        ({"default": {"fit": []}}, "unknown key 'figures.default.fit'; did you mean 'fits'"),
    ]:
        with pytest.raises(InputError, match=sentence):
            config.check({**real, "figures": figures})
