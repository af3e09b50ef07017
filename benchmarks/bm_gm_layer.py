"""A training step of a Gaussian mixture layer beside perceptrons.

The task: one step (forward, cross-entropy, backward, gradient descent) of a layer 784 -> 10 of K = 50 Gaussians of rank
4 and a diagonal, relu, batch 100, float32, and of a two-layer perceptron with as many multiply-adds forward: K ((R + 2)
(d + 1) + (R + 1) o) = H (d + 1 + o), so that H = 299. The drawn perceptron has as many neurons as make the root mean
square of its error a tenth of that of the output. Error: largest deviation of outputs and of gradients from float64,
over the largest value; of the drawn perceptron, of outputs from the layer's. Peak: of tensors during the step.
"""

from __future__ import annotations

import copy
import itertools
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rivals
import torch
from common import arguments, progress, report, save
from measuring import FAILED, TIME, deviation, given_up_after, memory_limited, seconds_of
from torch import Tensor, nn
from train_step import tensor_peak

from gmcn.nn import GaussianMixtureLayer
from gmcn.nn.mean_answer import by_definition
from gmcn.optim import WassersteinSGD, flow_groups

SIZES = {"d": 784, "o": 10, "components": 50, "rank": 4, "batch": 100}
SMALL = {"d": 16, "o": 3, "components": 4, "rank": 2, "batch": 10}
PERCEPTRON, RATE, SHARE = "perceptron of equal multiply-adds", 0.1, 0.1


@dataclass(frozen=True)
class Way:
    """A network, its optimiser, and what it should compute, in float64."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    exact: nn.Module
    multiply_adds: int | None = None
    gradients: bool = True


class ByAutograd(nn.Module):
    """The layer by its definition, with torch's own gradient."""

    def __init__(self, layer: GaussianMixtureLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        weights, rows = layer.logits.softmax(0), layer._rows(x)
        return by_definition(rows, weights, layer.means, layer.stds, layer.factors, layer.activation)


def multiply_adds(d: int, o: int, components: int, rank: int) -> int:
    """Of one object, forward."""
    return components * ((rank + 2) * (d + 1) + (rank + 1) * o)


def perceptron(d: int, hidden: int, o: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, o, bias=False))


def ways_of(x: Tensor, sizes: dict[str, int], options: Namespace) -> dict[str, Callable[[], Way]]:
    d, o, count, rank = (sizes[name] for name in ("d", "o", "components", "rank"))
    work, generator = multiply_adds(d, o, count, rank), torch.Generator().manual_seed(0)
    original = GaussianMixtureLayer(d, o, count, rank=rank, generator=generator).to(options.device)

    def by(wrapped: Callable[[GaussianMixtureLayer], nn.Module], work: int | None = work) -> Callable[[], Way]:
        def made() -> Way:
            layer = copy.deepcopy(original)
            flow = WassersteinSGD(flow_groups(layer), lr=RATE)
            return Way(wrapped(layer), flow, copy.deepcopy(layer).double(), work)

        return made

    def plain(network: nn.Module, exact: nn.Module, gradients: bool = True) -> Way:
        work = sum(layer.weight.numel() for layer in network if isinstance(layer, nn.Linear))
        descent = torch.optim.SGD(network.parameters(), lr=RATE)
        return Way(network, descent, exact.double(), work, gradients)

    def drawn() -> Way:
        with torch.no_grad():
            enough = original.variance(x).mean() / (SHARE**2 * original(x).square().mean())
        network = original.to_mlp(round(enough.item()), torch.Generator().manual_seed(1))
        return plain(network, copy.deepcopy(original), gradients=False)

    hidden = round(work / (d + 1 + o))
    torch.manual_seed(0)
    network = perceptron(d, hidden, o).to(options.device)
    ways = {
        PERCEPTRON: lambda: plain(network, copy.deepcopy(network)),
        "gmcn.nn.GaussianMixtureLayer": by(lambda layer: layer),
        "torch, by autograd": by(ByAutograd),
        "torch, covariances formed": by(rivals.FormedCovariances, None),
        "perceptron drawn from the layer": drawn,
    }
    if not options.smoke:
        ways["torch.compile of it"] = by(lambda layer: torch.compile(layer, dynamic=False))
    return ways


def error_of(way: Way, x: Tensor, labels: Tensor) -> float:
    found = []
    for network, given in ((way.network, x), (way.exact, x.double())):
        output = network(given)
        nn.functional.cross_entropy(output, labels).backward()
        named = sorted(network.named_parameters(), key=lambda pair: pair[0].rpartition(".")[2] + pair[0])
        gradients = [tensor.grad for _, tensor in named if tensor.grad is not None] if way.gradients else []
        found.append([tensor.detach().clone() for tensor in (output, *gradients)])
    return deviation(found[0], [tensor.cpu() for tensor in found[1]])


def measure(way: Way, x: Tensor, labels: Tensor, options: Namespace) -> dict[str, Any]:
    """Columns of one row."""

    def step() -> None:
        loss = nn.functional.cross_entropy(way.network(x), labels)
        way.optimizer.zero_grad()
        loss.backward()
        way.optimizer.step()

    error = error_of(way, x, labels)
    with torch.no_grad():
        forward = seconds_of(lambda: way.network(x), options)
    seconds = seconds_of(step, options)
    row = {"multiply-adds": way.multiply_adds, "parameters": sum(one.numel() for one in way.network.parameters())}
    row |= {"forward, ms": 1e3 * forward, "step, ms": 1e3 * seconds, "error": error}
    return row | {"peak, MiB": tensor_peak(step, options) / 2**20}


def main() -> None:
    counts = {"type": int, "nargs": "+", "default": [1, 2], "help": "numbers of threads (default: 1 2)"}
    options = arguments(__doc__, ("--each-threads", counts))
    sizes = SMALL if options.smoke else SIZES
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sizes["batch"], sizes["d"], generator=generator).to(options.device)
    labels = torch.randint(sizes["o"], (sizes["batch"],), generator=generator).to(options.device)
    rows: list[dict[str, Any]] = []
    with memory_limited(options):
        for threads, (name, made) in itertools.product(options.each_threads, ways_of(x, sizes, options).items()):
            progress(f"gm_layer: {name}, {threads} threads")
            torch.set_num_threads(threads)
            row: dict[str, Any] = {"way": name, "threads": threads}
            try:
                with given_up_after(options.limit):
                    row |= measure(made(), x, labels, Namespace(**{**vars(options), "threads": threads}))
            except TimeoutError:
                row["remark"] = f"{TIME} ({options.limit:g} s)"
            except Exception as error:  # of any library
                row["remark"] = f"{FAILED}: {str(error).strip().splitlines()[0][:120]}"
            beside = next((one.get("step, ms") for one in rows if one["threads"] == threads), row.get("step, ms"))
            if beside and "step, ms" in row:
                row["times the perceptron"] = row["step, ms"] / beside
            rows.append(row)
            save("gm_layer", __doc__, rows, options)
    report("gm_layer", __doc__, rows, options)


if __name__ == "__main__":
    main()
