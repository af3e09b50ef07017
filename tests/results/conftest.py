"""A variant with two trained seeds, and everything that is measured of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gmcn.artifacts import save_tensors
from gmcn.results import evaluate, footprint, probe
from gmcn.training import train
from tests.training.conftest import (
    NETWORK,
    TRAINING,
    Recorder,
    clouds,  # noqa: F401
    make_mixtures,
)


@pytest.fixture(scope="session")
def variant(tmp_path_factory) -> SimpleNamespace:
    """Paths of a result's artifacts: two seeds of a tiny network on three classes of 2D mixtures."""
    results = tmp_path_factory.mktemp("results")
    runs = results / "runs" / "toy_small"
    mixtures = make_mixtures(results / "mixtures" / "toy_kmeans8.safetensors", classes=3)
    points = results / "points" / "toy.safetensors"
    save_tensors(points, {}, {"dataset": "toy", "run_id": "sample-run", "provenance": {"commit": "abc"}})
    settings = {"network": dict(NETWORK), "training": {**TRAINING, "epochs": 3}, "probe": {}, "seeds": [0, 1]}
    for seed in (0, 1):
        folder = runs / f"seed{seed}"
        train(mixtures, settings=settings, seed=seed, output=folder, device="cpu", threads=1, run=Recorder())
    models = [runs / f"seed{seed}" / "model.safetensors" for seed in (0, 1)]
    arguments = {"models": models, "device": "cpu"}
    recorders = {name: Recorder() for name in ("evaluate", "probe", "footprint")}
    for name, recorder in recorders.items():
        recorder.id = f"{name}-run"
    evaluate(mixtures, output=runs / "evaluation.json", run=recorders["evaluate"], **arguments)
    probe(
        mixtures,
        output=runs / "rmse.json",
        settings={"positions": 500, "shapes": 5},
        run=recorders["probe"],
        **arguments,
    )
    footprint(mixtures, output=runs / "footprint.json", settings=settings, run=recorders["footprint"], **arguments)
    return SimpleNamespace(
        results=results,
        runs=runs,
        mixtures=mixtures,
        points=points,
        models=models,
        settings=settings,
        recorders=recorders,
        training=[Path(model).with_name("training.json") for model in models],
    )
