"""The objective of mixtures of image windows, and its gradient: sums by winner beside torch's autograd.

The task: the three mixtures of F3 G25 P2 F4 G25 P2 F5 G49 on a batch of 100 images of 28 x 28, float32, each by itself:
the largest of G s at each position for the log-scores s, responsibilities, and the gradient of the objective's mean
with respect to centroids, precisions and weights. Error: largest deviation of objective and gradients from float64 over
the largest value.
"""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, progress, report, save
from measuring import deviation, peak_of, seconds_of
from torch import Tensor

from gmcn.nn import Folding, GMMLayer
from gmcn.nn.annealing import Annealing

Way = Callable[[GMMLayer, Tensor, Tensor, Folding], Tensor]
TASKS = ((1, 28, 3, 25), (25, 13, 4, 25), (25, 5, 5, 49))  # channels, rows, window, components


def by_autograd(layer: GMMLayer, x: Tensor, grid: Tensor, folding: Folding) -> Tensor:  # [B, H', W']
    scores = layer.log_scores(x, folding)
    with torch.no_grad():
        scores.softmax(1)
    return (scores.movedim(1, -1) @ grid.mT).amax(-1)


def ours(layer: GMMLayer, x: Tensor, grid: Tensor, folding: Folding) -> Tensor:  # [B, H', W']
    return layer.objective(x, grid, folding, shared=True)[0]


WAYS: dict[str, Way] = {"gmcn.nn.GMMLayer.objective": ours, "torch, by autograd": by_autograd}


def made(channels: int, rows: int, window: int, components: int, batch: int) -> tuple[Any, ...]:
    """A layer in the midst of its training, images, a torus' neighbourhoods, and the folding."""
    generator = torch.Generator().manual_seed(0)
    folding = Folding(window)
    layer = GMMLayer(channels * window**2, components, spread=0.5, generator=generator)
    with torch.no_grad():
        layer.roots.mul_(torch.rand(layer.roots.shape, generator=generator) + 0.1)
    x = torch.rand(batch, channels, rows, rows, generator=generator)
    return layer, x.contiguous(memory_format=torch.channels_last), Annealing(components).grid.float(), folding


def values_of(way: Way, layer: GMMLayer, x: Tensor, grid: Tensor, folding: Folding) -> list[Tensor]:
    layer.zero_grad()
    objective = way(layer, x, grid, folding)
    objective.mean().backward()
    return [objective.detach(), *(parameter.grad for parameter in layer.parameters())]


def measure(way: Way, task: tuple[Any, ...], options: Namespace) -> dict[str, Any]:
    layer, x, grid, folding = task
    exact = values_of(by_autograd, copy.deepcopy(layer).double().cpu(), x.double().cpu(), grid.double().cpu(), folding)
    error = deviation(values_of(way, *task), exact)
    with torch.no_grad():
        forward = seconds_of(lambda: way(*task), options)
    both = seconds_of(lambda: values_of(way, *task), options)
    peak = peak_of(lambda: values_of(way, *task), options)
    return {"forward, ms": 1e3 * forward, "both, ms": 1e3 * both, "error": error, "peak, MiB": peak}


def main() -> None:
    options = arguments(__doc__)
    rows: list[dict[str, Any]] = []
    for number, sizes in enumerate(TASKS, 1):
        task = made(*sizes, 3 if options.smoke else 100)
        task = *(part.to(options.device) for part in task[:3]), task[3]
        for name, way in WAYS.items():
            progress(f"winners, mixture {number}: {name}")
            rows.append({"mixture": number, "way": name, **measure(way, task, options)})
            save("winners", __doc__, rows, options)
    report("winners", __doc__, rows, options)


if __name__ == "__main__":
    main()
