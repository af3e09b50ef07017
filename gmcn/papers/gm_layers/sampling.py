"""The figure `gmlayer-sampling`: the error of finite networks drawn from a layer, beside the one known in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD
from gmcn.papers.gm_layers.training import Vectors, evaluated, train
from gmcn.pictures import still
from gmcn.progress import Progress

if TYPE_CHECKING:
    from gmcn.papers.gm_layers.figures import LayerSettings

SMALLEST = 100  # neurons


def sampling(data: Vectors, settings: LayerSettings, _: Any = ()) -> tuple[dict[str, Any], Any]:
    """The numbers and the figure, of a layer of low rank with the last number of Gaussians and the first seed.

    The error is the root mean square over test objects, outputs and networks; predicted is the root of the mean of
    ``layer.variance(x) / n``.
    """
    seed = settings.seeds[0]
    generator = torch.Generator().manual_seed(seed)
    layer = GaussianMixtureLayer(
        data.train.shape[1], data.classes, settings.components[-1], "low-rank", settings.rank, generator=generator
    )
    optimizer = WassersteinSGD(layer, lr=settings.learning_rate)
    own = {"epochs": settings.epochs, "batch_size": settings.batch_size, "seed": seed}
    trained = train(layer, optimizer, data, after=lambda: evaluated(layer, data), **own)[-1]
    shown = data.test[torch.randperm(len(data.test), generator=generator)[: settings.objects]]
    with torch.no_grad():
        outputs, variance = layer(shown), layer.variance(shown).mean().item()
    steps = round(2 * np.log10(settings.largest / SMALLEST)) + 1
    sizes = np.geomspace(SMALLEST, settings.largest, steps).round().astype(int).tolist()
    errors = []
    with Progress() as bar:
        task = bar.add_task("neurons drawn", total=settings.draws * sum(sizes))
        for size in sizes:
            errors.append([])
            for _draw in range(settings.draws):
                errors[-1].append(_error(layer.to_mlp(size, generator), shown, outputs))
                bar.advance(task, size)
    observed = [float(np.sqrt(np.mean(np.square(error)))) for error in errors]
    slope = float(np.polyfit(np.log(sizes), np.log(observed), 1)[0])
    found = {
        "neurons": sizes,
        "errors": errors,
        "observed": observed,
        "predicted": [float(np.sqrt(variance / size)) for size in sizes],
        "slope": slope,
        "layer": trained,
    }
    return found, _figure(found)


@torch.no_grad()
def _error(network: nn.Module, shown: torch.Tensor, outputs: torch.Tensor) -> float:
    return (network(shown) - outputs).double().square().mean().sqrt().item()


def _figure(found: dict[str, Any]) -> Any:
    figure, ((axes,),) = still.panels(1, 1, 5, 4)
    sizes: Sequence[int] = found["neurons"]
    label = "networks of n neurons"
    for draws in zip(*found["errors"], strict=True):
        axes.loglog(sizes, draws, ".", ms=4, color="0.6", label=label)
        label = "_"
    axes.loglog(sizes, found["observed"], "o", ms=5, label=f"observed, slope {found['slope']:.3f}")
    axes.loglog(sizes, found["predicted"], "-", color="C3", label="predicted by variance(x)")
    axes.set_xlabel("neurons n")
    axes.set_ylabel("root mean square error of the output")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
