"""The figure `gmlayer-cost`: a training step of a layer beside one of a perceptron with as many multiply-adds.

For K Gaussians of R factors with a diagonal, i = d + 1 and a batch of B objects, in numbers of the network's type:

    parameters    P = K ((R + 2) i + (R + 1) o)             full: R = i + o, and no diagonal, K i less
    forward       B P multiply-adds; the step twice as many, as inputs get no gradient, and B K (R + 1) o more
    memory        2 B i for the input and its squares, B K (3 R + 5) for what lies between, and P for the gradients
                  (or B K (R + 1), where that is more)

So time is that of a perceptron of H = P / (i + o) neurons, but for what gmcn.ops.layer_moments does with [K, B] and
[K, R, B], for squares, and for torch's calls. A small layer waits for them; of all but squares d is no part.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from gmcn.nn import GaussianMixtureLayer
from gmcn.optim import WassersteinSGD, flow_groups
from gmcn.pictures import still
from gmcn.progress import Progress
from gmcn.results.allocations import peak_of_allocations

FULL = -1  # as a rank
SECONDS, LEAST = 0.3, 5  # of a measurement, and steps in it


@dataclass(frozen=True)
class Sizes:
    """A layer and its batch. A ``rank`` of 0 is diagonal, FULL is full."""

    components: int = 50
    rank: int = 4
    width: int = 784
    outputs: int = 10
    batch: int = 100

    def multiply_adds(self) -> int:
        """Of one object, forward; the number of parameters but for the logits."""
        inner, rank = self.width + 1, self._factors()
        diagonal = 0 if self.rank == FULL else inner
        return self.components * ((rank + 1) * (inner + self.outputs) + diagonal)

    def numbers(self) -> int:
        """That a step holds at its peak, beside the parameters and the input."""
        each = self.batch * self.components
        largest = max(self.multiply_adds(), each * (self._factors() + 1))
        return largest + 2 * self.batch * (self.width + 1) + each * (3 * self._factors() + 5)

    def hidden(self) -> int:
        """Neurons of the perceptron with as many multiply-adds."""
        return max(1, round(self.multiply_adds() / (self.width + 1 + self.outputs)))

    def layer(self) -> GaussianMixtureLayer:
        """The layer, from a seed."""
        family = {0: "diagonal", FULL: "full"}.get(self.rank, "low-rank")
        generator = torch.Generator().manual_seed(0)
        return GaussianMixtureLayer(
            self.width, self.outputs, self.components, family, max(1, self.rank), generator=generator
        )

    def perceptron(self) -> nn.Sequential:
        """The perceptron."""
        hidden = self.hidden()
        return nn.Sequential(nn.Linear(self.width, hidden), nn.ReLU(), nn.Linear(hidden, self.outputs, bias=False))

    def _factors(self) -> int:
        return self.width + 1 + self.outputs if self.rank == FULL else self.rank


SWEEPS = {
    "components": [Sizes(components=count) for count in (5, 10, 20, 50, 100, 200)],
    "rank": [Sizes(rank=rank) for rank in (0, 1, 2, 4, 8, 16, FULL)],
    "width": [Sizes(width=width) for width in (64, 128, 256, 512, 784, 1536, 3072)],
}
NAMES = {"components": "Gaussians K", "rank": "rank R", "width": "inputs d"}


def cost(_data: Any = None, _settings: Any = None, _kernels: Any = ()) -> tuple[dict[str, Any], Any]:
    """The numbers and the figure. It takes no data set: inputs are random."""
    rows = []
    with Progress() as bar:
        task = bar.add_task("layers timed", total=sum(map(len, SWEEPS.values())))
        for sweep, points in SWEEPS.items():
            for sizes in points:
                rows.append({"sweep": sweep, **asdict(sizes), **measured(sizes, SECONDS)})
                bar.advance(task)
    return {"rows": rows}, _figure(rows)


def measured(sizes: Sizes, seconds: float) -> dict[str, Any]:
    """Seconds and bytes of a step of the layer and of its perceptron, and what the formulas say."""
    torch.manual_seed(0)
    x = torch.randn(sizes.batch, sizes.width)
    labels = torch.randint(sizes.outputs, (sizes.batch,))
    layer, perceptron = sizes.layer(), sizes.perceptron()
    steps = [
        training_step(layer, WassersteinSGD(flow_groups(layer), lr=0.01), x, labels),
        training_step(perceptron, torch.optim.SGD(perceptron.parameters(), lr=0.01), x, labels),
    ]
    times = _seconds_of(steps, seconds)
    for network in (layer, perceptron):
        network.zero_grad()  # else the step would begin by giving memory back
    peaks = [peak_of_allocations(step) for step in steps]
    return {
        "hidden": sizes.hidden(),
        "multiply_adds": sizes.multiply_adds(),
        "predicted_bytes": 4 * sizes.numbers(),
        "seconds": times[0],
        "bytes": peaks[0],
        "perceptron_seconds": times[1],
        "perceptron_bytes": peaks[1],
    }


def training_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, labels: torch.Tensor
) -> Callable[[], None]:
    """A function that does one: forward, cross-entropy, backward, optimiser."""

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return step


def _seconds_of(steps: list[Callable[[], None]], seconds: float) -> list[float]:
    """The median of each; they take turns, so that what else the machine does is in both."""
    found: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step()
    until = time.perf_counter() + seconds * len(steps)
    while len(found[0]) < LEAST or time.perf_counter() < until:
        for times, step in zip(found, steps, strict=True):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in found]


def _figure(rows: list[dict[str, Any]]) -> Any:
    from matplotlib.ticker import LogLocator

    figure, panels = still.panels(2, len(SWEEPS), 11, 6)
    for column, sweep in enumerate(SWEEPS):
        own = [row for row in rows if row["sweep"] == sweep]
        even = sweep == "rank"  # which has 0 and full
        places = range(len(own)) if even else [row[sweep] for row in own]
        for line, (unit, key) in enumerate(((1e3, "seconds"), (2**-20, "bytes"))):
            axes = panels[line][column]
            for prefix, style, label in (("", "o-", "mixture layer"), ("perceptron_", "s--", "perceptron")):
                axes.plot(places, [unit * row[f"{prefix}{key}"] for row in own], style, ms=4, label=label)
            if key == "bytes":
                axes.plot(places, [unit * row["predicted_bytes"] for row in own], "kx", ms=6, label="formula")
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.grid(alpha=0.3)
            if even:
                words = ["full" if row["rank"] == FULL else str(row["rank"]) for row in own]
                axes.set_xticks(list(places), words)
            else:
                axes.set_xscale("log")
                axes.set_xticks(list(places), [str(place) for place in places])
                axes.minorticks_off()
        panels[1][column].set_xlabel(NAMES[sweep])
    panels[0][0].set_ylabel("training step, ms")
    panels[1][0].set_ylabel("peak of tensors, MiB")
    for line in (0, 1):
        panels[line][0].legend(fontsize=8)
    return figure
