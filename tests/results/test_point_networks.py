"""A point network from a data set to the one JSON of its result: what only GMCN has is left out, with the reason."""

from __future__ import annotations

import json

import pytest
import torch

import gmcn
from gmcn.artifacts import load_tensors
from gmcn.data import sample
from gmcn.fitting import fit
from gmcn.results import evaluate, footprint, probe, summarise
from gmcn.training import train
from tests.results.test_summary import ResultRecorder
from tests.training.conftest import Recorder

TRAINING = {"epochs": 1, "batch_size": 10, "validation_fraction": 0.2, "checkpoint_minutes": 0}


@pytest.mark.parametrize(
    ("network", "fitting"),
    [
        ({"kind": "pointnet"}, {"method": "points", "components": 40, "covariance_floor": 1e-4, "seed": 0}),
        ({"kind": "pointnet2", "features": "gaussians"}, {"method": "kmeans", "components": 16}),
    ],
)
def test_from_shapes_to_a_result(tmp_path, network, fitting):
    points, mixtures = tmp_path / "points" / "solids10.safetensors", tmp_path / "mixtures.safetensors"
    solids = {"kind": "solids", "train_per_class": 3, "test_per_class": 1, "points": 80, "normalize": True}
    sample("solids10", settings=solids, downloads=None, output=points)
    fit(points, settings=fitting, output=mixtures, dataset="solids10", name="mine")
    settings = {"network": network, "training": TRAINING, "probe": {"positions": 100}}
    runs = tmp_path / "runs" / "solids10_rival"
    for seed in (0, 1):
        folder = runs / f"seed{seed}"
        train(mixtures, settings=settings, seed=seed, output=folder, device="cpu", threads=1, run=Recorder())
    models = [runs / f"seed{seed}" / "model.safetensors" for seed in (0, 1)]
    arguments = {"models": models, "device": "cpu"}
    tested = evaluate(mixtures, output=runs / "evaluation.json", run=Recorder(), **arguments)
    recorder = Recorder()
    probed = probe(mixtures, output=runs / "rmse.json", settings=settings["probe"], run=recorder, **arguments)
    measured = footprint(mixtures, output=runs / "footprint.json", settings=settings, run=recorder, **arguments)
    name = {"pointnet": "PointNet", "pointnet2": "PointNet2"}[network["kind"]]
    reason = f"{name} has no mixtures inside, only at its input"
    assert probed["reason"] == measured["reason"] == reason
    assert probed["mean"] == probed["std"] == {"layers": []}
    assert measured["theory"] == measured["paper"] == measured["ratio"] == {}
    parameters = sum(p.numel() for p in gmcn.load(runs).parameters())
    assert measured["measured"]["bytes"] > 4 * 4 * parameters  # values, gradients and Adam's two moments
    assert {key for _, metrics in recorder.metrics for key in metrics} == {"memory/measured_bytes"}

    run = ResultRecorder()
    summarise(
        dataset="solids10",
        variant="rival",
        settings=settings,
        points=points,
        artifact=mixtures,
        training=[model.with_name("training.json") for model in models],
        evaluation=runs / "evaluation.json",
        measures={"footprint": runs / "footprint.json"},
        output=tmp_path / "solids10_rival.json",
        run=run,
    )
    result = json.loads((tmp_path / "solids10_rival.json").read_text())
    assert result["metrics"]["accuracy"]["mean"] == tested["mean"]["accuracy"]
    assert (result["parameters"], "kernel_parameters" in result) == (parameters, False)
    assert result["measures"].keys() == {"footprint"}
    assert (result["measures"]["footprint"]["ratio"], result["measures"]["footprint"]["reason"]) == ({}, reason)
    tensors, _ = load_tensors(mixtures)
    chosen = tensors["split"] == 1
    test = gmcn.Mixture(*(tensors[field][chosen] for field in gmcn.Mixture._fields))
    with torch.no_grad():
        predictions = gmcn.load(tmp_path / "solids10_rival.json", seed=1)(test).argmax(1).tolist()
    assert predictions == tested["seeds"]["1"]["predictions"]
