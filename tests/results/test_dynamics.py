"""The stage `dynamics`, on tiny trainings with snapshots."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gmcn
from gmcn.artifacts import load_tensors, save_tensors
from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer
from gmcn.pictures.measure_figures import draw_measures, principal_axes, projected
from gmcn.results import dynamics, evaluate, summarise
from gmcn.results.flow import distance
from gmcn.results.reading import read_result
from gmcn.training import train
from tests.training.conftest import TRAINING, Recorder

NETWORK = {"kind": "gm-mlp", "components": 3, "rank": 2, "hidden": [5]}
SETTINGS = {"objects": 30, "neurons": 60}


def make_images(path: Path) -> Path:
    """Two classes of bright rows, at the top or at the bottom."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(26)
    images = torch.rand(52, 4, 4, generator=generator)
    images[torch.arange(52), 3 * labels] += 1
    tensors = {"images": images, "labels": labels, "split": (torch.arange(52) >= 40).to(torch.uint8)}
    metadata = {"dataset": "rows", "class_names": ["top", "bottom"], "run_id": "sample-run", "provenance": {}}
    save_tensors(path, tensors, metadata)
    return path


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> SimpleNamespace:
    """Two seeds with snapshots, and what is measured of them."""
    results = tmp_path_factory.mktemp("results")
    points, runs = make_images(results / "points/rows.safetensors"), results / "runs/rows_gm"
    training = {**TRAINING, "optimizer": "wasserstein", "snapshots": [0, 1, 2, 4]}
    settings = {"network": dict(NETWORK), "training": training, "seeds": [0, 1]}
    models = []
    for seed in (0, 1):
        train(points, settings=settings, seed=seed, output=runs / f"seed{seed}", device="cpu", threads=1)
        models.append(runs / f"seed{seed}/model.safetensors")
    run = Recorder()
    arguments = {"models": models, "device": "cpu"}
    result = dynamics(points, settings=SETTINGS, output=runs / "dynamics.json", run=run, **arguments)
    return SimpleNamespace(
        points=points, runs=runs, models=models, settings=settings, run=run, result=result, results=results
    )


def test_every_layer_is_measured_at_every_snapshot(moved):
    written = json.loads((moved.runs / "dynamics.json").read_text())
    assert written == moved.result
    for seed in ("0", "1"):
        layers = written["seeds"][seed]["layers"]
        assert [layer["layer"] for layer in layers] == ["layers.0", "layers.2"]
        for layer in layers:
            assert list(layer["epochs"]) == ["0", "1", "2", "4"]
            assert list(layer["path"]) == ["1", "2", "4"]
            assert layer["length"] == pytest.approx(sum(step["length"] for step in layer["path"].values()))
            for numbers in layer["epochs"].values():
                assert numbers["components"] == 3
                assert numbers["effective"] == pytest.approx(3)
                assert 1 <= numbers["effective_by_output"] <= 3
                assert 0 <= numbers["dead"] <= 3
                assert 0 < numbers["residual"] < 1
                assert 0 < numbers["residual_error"] < 0.2
    both = [written["seeds"][seed]["layers"][1]["length"] for seed in ("0", "1")]
    assert written["mean"]["layers"][1]["length"] == pytest.approx(np.mean(both))
    assert written["std"]["layers"][1]["length"] == pytest.approx(np.std(both, ddof=1))


def test_the_way_is_between_snapshots(moved):
    first = gmcn.load(moved.runs / "seed1/snapshots/epoch1.safetensors").layers[0]
    second = gmcn.load(moved.runs / "seed1/snapshots/epoch2.safetensors").layers[0]
    assert moved.result["seeds"]["1"]["layers"][0]["path"]["2"] == distance(first, second)


def test_the_measures_are_followed_and_drawn(moved):
    logged = {step: metrics for step, metrics in moved.run.metrics if "measure/layers.0/residual" in metrics}
    assert set(logged) == {0, 1, 2, 4}
    mean = moved.result["mean"]["layers"][0]
    assert logged[2]["measure/layers.0/length"] == mean["path"]["2"]["length"]
    assert [path.name for path in moved.run.artifacts] == ["measure.png", "measure.svg"]
    assert all(path.stat().st_size > 1000 for path in moved.run.artifacts)


def test_the_measures_are_part_of_the_result(moved):
    evaluate(moved.points, models=moved.models, output=moved.runs / "evaluation.json", device="cpu")
    run, output = Recorder(), moved.results / "rows_gm.json"
    pictures = []
    run.log_result = lambda numbers, params, runs, shown, *_, **__: pictures.extend(shown)
    summarise(
        dataset="rows",
        variant="gm",
        settings=moved.settings,
        points=moved.points,
        artifact=moved.points,
        training=[path.with_name("training.json") for path in moved.models],
        evaluation=moved.runs / "evaluation.json",
        measures={"dynamics": moved.runs / "dynamics.json"},
        output=output,
        run=run,
    )
    assert read_result(output)["measures"]["dynamics"]["layers"] == moved.result["mean"]["layers"]
    assert {"curves.png", "measure.png"} <= {path.name for path in pictures}


def test_a_snapshot_of_another_training_is_refused(moved, tmp_path):
    folder = tmp_path / "seed0"
    (folder / "snapshots").mkdir(parents=True)
    for name in ("model", "snapshots/epoch0", "snapshots/epoch1", "snapshots/epoch2"):
        (folder / f"{name}.safetensors").write_bytes((moved.runs / f"seed0/{name}.safetensors").read_bytes())
    arguments = {"models": [folder / "model.safetensors"], "settings": SETTINGS, "output": tmp_path / "dynamics.json"}
    again = dynamics(moved.points, device="cpu", **arguments)
    assert again["seeds"]["0"]["layers"] == moved.result["seeds"]["0"]["layers"]
    tensors, metadata = load_tensors(folder / "snapshots/epoch1.safetensors")
    metadata["settings"]["training"]["learning_rate"] = 7.0
    save_tensors(folder / "snapshots/epoch1.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"epoch1.safetensors is of another training than .*train it again"):
        dynamics(moved.points, device="cpu", **arguments)
    (folder / "snapshots/epoch1.safetensors").unlink()
    with pytest.raises(InputError, match=r"epoch1.safetensors does not exist"):
        dynamics(moved.points, device="cpu", **arguments)


def test_without_snapshots_the_trained_network_is_measured(moved, tmp_path):
    settings = {**moved.settings, "training": moved.settings["training"] | {"snapshots": [], "epochs": 1}}
    train(moved.points, settings=settings, seed=3, output=tmp_path, device="cpu", threads=1)
    found = dynamics(
        moved.points,
        models=[tmp_path / "model.safetensors"],
        settings=SETTINGS,
        output=tmp_path / "dynamics.json",
        device="cpu",
    )
    [layer, _] = found["mean"]["layers"]
    assert (list(layer["epochs"]), layer["path"], layer["length"]) == (["1"], {}, None)
    assert (tmp_path / "measure.png").is_file()


def test_a_network_without_such_layers_is_one_sentence(moved, tmp_path):
    settings = {"network": {"kind": "mlp", "hidden": [3]}, "training": {**TRAINING, "epochs": 1}}
    train(moved.points, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    with pytest.raises(InputError, match="has no Gaussian mixture layers, so no measure that moves"):
        dynamics(moved.points, models=[tmp_path / "model.safetensors"], settings={}, output=tmp_path / "x.json")


@pytest.mark.parametrize(("covariance", "components"), [("low-rank", 4), ("diagonal", 1), ("full", 2)])
def test_a_picture_shows_the_measure_on_the_axes(covariance, components, tmp_path):
    layer = GaussianMixtureLayer(6, 2, components, covariance, 2)
    axes = principal_axes(layer)
    seen = projected(layer, axes)
    inner = slice(0, layer.inner)
    dense = layer.measure().covariance.dense()[:, inner, inner].double()
    torch.testing.assert_close(seen.covariances, axes.mT @ dense @ axes, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(seen.positions, layer.means[:, inner].double() @ axes)
    if components > 2:
        torch.testing.assert_close(axes.mT @ axes, torch.eye(2, dtype=torch.float64))
    written = draw_measures({3: {"0": layer}}, {"0": [{}]}, tmp_path / "measure")
    before = [path.read_bytes() for path in written]
    draw_measures({3: {"0": layer}}, {"0": [{}]}, tmp_path / "measure")
    assert [path.read_bytes() for path in written] == before
