"""The figure `gmlayer-dynamics`: the flow of a mixture beside that of free neurons from the same start.

Free neurons are a network f = (1/n) Σ v s(w·x), drawn from the layer when it starts, each of which moves at the rate
of the flow, n times that of the plain gradient (mean-field scaling). All see the same batches. Beside them stands a
network of n neurons that is drawn from the mixture as it is after each epoch: what is lost by drawing alone.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gmcn.artifacts import read_json
from gmcn.errors import foreign
from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD
from gmcn.papers.gm_layers.training import Vectors, evaluated, train
from gmcn.pictures import still
from gmcn.progress import Progress

if TYPE_CHECKING:
    from gmcn.papers.gm_layers.figures import LayerSettings

FAMILIES = {"diagonal": "diagonal", "low-rank": "low rank"}
LINES = {"mixture": "flow of the mixture", "sampled": "network drawn from it", "particles": "free neurons"}


def dynamics(data: Vectors, settings: LayerSettings, kernels: Sequence[str | os.PathLike]) -> tuple[dict, Any]:
    """The numbers and the figure: accuracy and loss of all three after each epoch, from every start."""
    starts = [(family, count) for family in FAMILIES for count in settings.components]
    runs = []
    with Progress() as bar:
        task = bar.add_task("epochs", total=len(starts) * len(settings.seeds) * 2 * (settings.epochs + 1))
        for family, count in starts:
            for seed in settings.seeds:
                found = compare(data, family, count, settings, seed, lambda: bar.advance(task))
                runs.append({"covariance": family, "components": count, "seed": seed, **found})
    limits = dict(map(_limit, kernels))
    found = {"runs": runs, "kernels": limits}
    return found, _figure(runs, starts, limits)


def compare(
    data: Vectors, family: str, components: int, settings: LayerSettings, seed: int, progress: Any = lambda: None
) -> dict[str, list[dict[str, float | None]]]:
    """What the test split says before and after each epoch of the mixture, of networks drawn from it, and of free
    neurons.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = GaussianMixtureLayer(
        data.train.shape[1], data.classes, components, family, settings.rank, generator=generator
    )
    free = layer.to_mlp(settings.particles, generator)
    own = {"epochs": settings.epochs, "batch_size": settings.batch_size, "seed": seed}

    def both() -> tuple[dict[str, float | None], dict[str, float | None]]:
        progress()
        return evaluated(layer, data), evaluated(layer.to_mlp(settings.particles, generator), data)

    def alone() -> dict[str, float | None]:
        progress()
        return evaluated(free, data)

    flow = WassersteinSGD(layer, lr=settings.learning_rate)
    mixture, sampled = zip(*train(layer, flow, data, after=both, **own), strict=True)
    particles = train(free, mean_field(free, settings.learning_rate), data, after=alone, **own)
    return {"mixture": list(mixture), "sampled": list(sampled), "particles": particles}


def mean_field(network: nn.Sequential, rate: float) -> torch.optim.Optimizer:
    """Gradient descent that moves each neuron (w, v) at the rate ``rate`` times n, in a network of weights v / n."""
    first, _, second = network
    count = second.in_features
    groups = [
        {"params": list(first.parameters()), "lr": rate * count},
        {"params": list(second.parameters()), "lr": rate / count},
    ]
    return torch.optim.SGD(groups)


def _limit(path: str | os.PathLike) -> tuple[str, float]:
    """Name and accuracy of an infinite network."""
    with foreign(f"{path} is no result of a kernel"):
        found = read_json(path)
        return str(found["rival"]), float(found["metrics"]["accuracy"]["mean"])


def _figure(runs: Sequence[dict[str, Any]], starts: Sequence[tuple[str, int]], limits: dict[str, float]) -> Any:
    figure, grid = still.panels(2, len(starts), 3.1 * len(starts), 5.6)
    for column, (family, components) in enumerate(starts):
        own = [run for run in runs if (run["covariance"], run["components"]) == (family, components)]
        for row, number in enumerate((lambda found: 1 - found["accuracy"], lambda found: found["loss"])):
            axes = grid[row, column]
            if column:
                axes.sharey(grid[row, 0])
            for index, (line, label) in enumerate(LINES.items()):
                _line(axes, [[number(epoch) for epoch in run[line]] for run in own], f"C{index}", label)
            axes.set_xlabel("epoch")
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            axes.xaxis.get_major_locator().set_params(integer=True)
        for (kernel, accuracy), style in zip(limits.items(), (":", "--"), strict=False):
            grid[0, column].axhline(1 - accuracy, color="0.3", ls=style, lw=1, label=f"{kernel.upper()} kernel")
        grid[0, column].set_title(f"{FAMILIES[family]}, K = {components}", fontsize=10)
    for row, name in enumerate(("test error", "test cross-entropy")):
        grid[row, 0].set_ylabel(name)
    grid[0, -1].legend(fontsize=8, loc="upper right")
    return figure


def _line(axes: Any, seeds: Sequence[Sequence[float | None]], colour: str, label: str) -> None:
    """The mean of the seeds, and the range between them; not where one has diverged."""
    epochs = [epoch for epoch, values in enumerate(zip(*seeds, strict=True)) if None not in values]
    columns = [[seed[epoch] for seed in seeds] for epoch in epochs]
    axes.plot(epochs, list(map(statistics.fmean, columns)), "o-", ms=3, color=colour, label=label)
    axes.fill_between(epochs, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.2, lw=0)
