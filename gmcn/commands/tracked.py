"""Logs more than numbers and artifacts to MLflow: pictures of fits and networks, and the network as a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gmcn.artifacts import read_metadata
from gmcn.data.objects import TEST, read_split, select
from gmcn.fitting.stage import REDUCTION
from gmcn.mixture import Mixture
from gmcn.models import GMCN, Network, describe
from gmcn.models.loading import load
from gmcn.pictures import network_figures, still
from gmcn.pictures.fit_figures import draw_fits
from gmcn.tracking import Run

EXAMPLES = 3  # inputs that are logged with a model
SHOWN = 1  # objects in the picture of the activations: it has a row per object and layer


def log_fit(run: Run, points: str | os.PathLike, mixtures: str | os.PathLike) -> None:
    """The fit of the first test objects, as a picture and as a page on which it can be turned."""
    with run.extra():
        metadata = read_metadata(mixtures)
        if metadata["settings"].get("method") == REDUCTION:  # of ready mixtures there are no points to show
            return
        fit = metadata["fit"]
        for path in draw_fits(settings={"fits": [fit]}, points=points, mixtures=[mixtures], output=run.files / fit):
            if path.suffix != ".svg":
                run.log_artifact(path, "figures")


def log_networks(run: Run, models: Sequence[str | os.PathLike], mixtures: str | os.PathLike) -> None:
    """The networks of all seeds as models of the runs that trained them, and pictures of the first.

    In 2D these show kernels and activations layer by layer, the paper's figures 9 and 2. A model is an exported graph,
    no pickle, with its signature and inputs to try; ``mlflow.pyfunc.load_model`` gives it back.
    The point networks cannot be exported, since the sizes of their tensors depend on the data.
    """
    with run.extra():
        networks = [load(model) for model in models]
        if not all(isinstance(network, GMCN) for network in networks):
            return
        if networks[0].dim == 2:
            _log_figures(run, networks[0], _some(mixtures, SHOWN))
        for path, network in zip(models, networks, strict=True):
            metadata = read_metadata(path)
            folder = run.files / f"seed{metadata['seed']}"
            save_model(network, _some(mixtures, EXAMPLES), folder)
            run.log_model(folder, folder.name, describe(network), metadata.get("run_id"))


def _log_figures(run: Run, network: GMCN, inputs: Mixture) -> None:
    figures = {
        "kernels": network_figures.kernels(network),
        "activations": network_figures.activations(network, inputs),
    }
    for name, figure in figures.items():
        path = run.files / f"{name}.png"
        still.save(figure, path)
        run.log_artifact(path, "figures")


class Packed(nn.Module):
    """A network whose inputs are one tensor [S, N, 1 + D + D²]: weight, position and covariance of every component."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, packed: Tensor) -> Tensor:  # [S, N, 1 + D + D²] -> [S, classes]
        dim = self.network.dim
        covariances = packed[..., 1 + dim :].unflatten(-1, (dim, dim))
        return self.network(Mixture(packed[..., 0], packed[..., 1 : 1 + dim], covariances))


def pack(mixture: Mixture) -> Tensor:  # [S, N] -> [S, N, 1 + D + D²]
    """Mixtures as the one tensor that :class:`Packed` takes."""
    return torch.cat([mixture.weights[..., None], mixture.positions, mixture.covariances.flatten(-2)], -1)


def _some(mixtures: str | os.PathLike, count: int) -> Mixture:  # [count, N]
    """The first test objects, from the start again where there are fewer."""
    mixture = read_split(mixtures, TEST).inputs
    return select(mixture, torch.arange(count) % len(mixture.weights))


def save_model(network: GMCN, examples: Mixture, folder: Path) -> None:  # [S, N], S > 1
    """Write the folder that ``mlflow.pyfunc.load_model`` reads; it takes any number of inputs of N components."""
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    packed = pack(examples)
    float32 = np.dtype("float32")
    signature = ModelSignature(
        Schema([TensorSpec(float32, (-1, *packed.shape[1:]))]), Schema([TensorSpec(float32, (-1, network.classes))])
    )
    model = Model()
    mlflow.pytorch.save_model(
        Packed(network).eval(),
        folder,
        mlflow_model=model,
        signature=signature,
        input_example=packed.numpy(),
        serialization_format="pt2",
        pip_requirements=["gmcn", f"torch=={torch.__version__.partition('+')[0]}"],
    )
    model.flavors["python_function"]["loader_module"] = "gmcn.commands.mlflow_loader"
    model.save(folder / "MLmodel")
