"""Pictures and models in MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gmcn
from gmcn import tracking
from gmcn.commands.tracked import log_fit, log_networks, pack
from gmcn.data.objects import TEST, read_split
from gmcn.tracking import store as tracking_store
from tests.conftest import ROOT
from tests.test_cli import SOLIDS

mlflow = pytest.importorskip("mlflow")

LOADER = """
import sys
import mlflow.pyfunc
from safetensors.numpy import load_file, save_file
network = mlflow.pyfunc.load_model(sys.argv[1])
inputs = load_file(sys.argv[2])["inputs"]
save_file({str(count): network.predict(inputs[:count]) for count in (1, 2, len(inputs))}, sys.argv[3])
"""


@pytest.fixture(scope="module")
def logged(variant, tmp_path_factory):
    """A store in which the pictures and models of a variant are, and its run."""
    store = tmp_path_factory.mktemp("store")
    with tracking.start("evaluate", name="evaluate", dataset="toy", results=store) as run:
        log_networks(run, variant.models, variant.mixtures)
    return store, run.id, mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(store))


def test_kernels_and_activations_are_drawn(logged):
    store, run_id, client = logged
    assert [entry.path for entry in client.list_artifacts(run_id, "figures")] == [
        "figures/activations.png",
        "figures/kernels.png",
    ]
    assert not list((store / "unlogged").iterdir())


@pytest.mark.slow
def test_a_model_is_loaded_elsewhere_without_a_pickle(logged, variant, tmp_path):
    from safetensors.torch import load_file, save_file

    store, run_id, client = logged
    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment])
    assert {model.source_run_id for model in models} == {run_id}  # those who trained them are not in this store
    assert {model.name for model in models} == {"seed0", "seed1"}
    model = models[0]
    inputs = pack(read_split(variant.mixtures, TEST).inputs)
    save_file({"inputs": inputs}, tmp_path / "inputs.safetensors")
    subprocess.run(
        [sys.executable, "-c", LOADER, model.model_uri, tmp_path / "inputs.safetensors", tmp_path / "out.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": tracking_store.store_uri(store)},
        check=True,
        timeout=300,
    )
    network = gmcn.load(variant.runs, seed=int(model.name.removeprefix("seed")))
    with torch.no_grad():
        expected = network(read_split(variant.mixtures, TEST).inputs)
    for count, found in load_file(tmp_path / "out.safetensors").items():
        torch.testing.assert_close(found, expected[: int(count)], rtol=1e-5, atol=1e-6)

    folder = model.artifact_location.removeprefix("file://")
    names = {name for _, _, files in os.walk(folder) for name in files}
    assert "model.pt2" in names
    assert not [name for name in names if name.endswith((".pkl", ".pth"))]
    info = mlflow.models.get_model_info(folder)
    assert info.signature.inputs.inputs[0].shape == (-1, *inputs.shape[1:])
    example = json.loads((Path(folder) / "serving_input_example.json").read_text())["inputs"]
    torch.testing.assert_close(torch.tensor(example), inputs[: len(example)])


@pytest.mark.slow
def test_every_seed_is_a_model_of_its_training(variant, tmp_path):
    """As in the workflow, where the trainings are in the same store."""
    from gmcn.artifacts import load_tensors, save_tensors

    models = []
    for path in variant.models:
        with tracking.start("train", name="train", dataset="toy", results=tmp_path) as run:
            pass
        tensors, metadata = load_tensors(path)
        models.append((run.id, tmp_path / path.parent.name / path.name))
        save_tensors(models[-1][1], tensors, {**metadata, "run_id": run.id})
    for _ in range(2):  # evaluated again, they are not logged again
        with tracking.start("evaluate", name="evaluate", dataset="toy", results=tmp_path) as run:
            log_networks(run, [path for _, path in models], variant.mixtures)
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(tmp_path))
    found = client.search_logged_models([client.get_run(run.id).info.experiment_id])
    assert {model.source_run_id: model.name for model in found} == {run_id: path.parent.name for run_id, path in models}
    assert len(found) == len(models)


def test_a_fit_is_drawn_and_can_be_turned(tmp_path):
    from gmcn import cli

    common = ["--dataset", "solids10", "--results", str(tmp_path), "--config", str(ROOT / "config.yaml")]
    assert cli.main(["sample", *common, "--settings", SOLIDS, "--tracking", "off"]) == 0
    assert cli.main(["fit", *common, "--fit", "kmeans16"]) == 0
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(tmp_path))
    [run] = client.search_runs(
        [client.get_experiment_by_name("gmcn/solids10").experiment_id], "attributes.run_name = 'fit kmeans16'"
    )
    assert [entry.path for entry in client.list_artifacts(run.info.run_id, "figures")] == [
        "figures/kmeans16.html",
        "figures/kmeans16.png",
    ]


def test_what_cannot_be_drawn_stops_nothing(tmp_path, caplog):
    with tracking.start("fit", name="fit", dataset="toy", results=tmp_path) as run:
        log_fit(run, tmp_path / "nowhere.safetensors", tmp_path / "nowhere.safetensors")
        log_networks(run, [tmp_path / "nowhere.safetensors"], tmp_path / "nowhere.safetensors")
    client = mlflow.MlflowClient(tracking_uri=tracking_store.store_uri(tmp_path))
    assert client.get_run(run.id).info.status == "FINISHED"
    assert caplog.text.count("could not be made") == 2
