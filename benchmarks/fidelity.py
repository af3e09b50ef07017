"""How true the layers of a trained network stay where their dense fit is exchanged, without training it again.

The task: trained networks with exact dense fits, and with r nodes per Gaussian (fit_at) or convolutions fitted to 4
times a layer's Gaussians (convolve_fit) instead; on shapes that were held out as validation. Errors: standardised, of
each whole layer, convolution to reduction, against the rectified exact convolution at random positions; all ways get
the input that the exact network gives this layer. Nodes are at least 16, and 64 in the last layer, if nothing else is
said. Accuracy: with all layers exchanged, norms from running statistics, and from those of the batch of all shapes.
"""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import arguments, progress, random_mixture, report
from torch import Tensor

from gmcn import Mixture, ops
from gmcn.artifacts import read_metadata
from gmcn.data.objects import TRAIN, batches_in_order, read_split, select
from gmcn.errors import InputError
from gmcn.models import GMCN, build
from gmcn.models.loading import load, model_path
from gmcn.results.probing import BATCH
from gmcn.results.rmse import ErrorSum, random_positions
from gmcn.training.datamodule import stratified_split

GIVEN = (
    ("digits_treehem2", "results/mixtures/digits_kmeans16.safetensors"),
    ("modelnet10_small", "results/mixtures/modelnet10_kmeans32.safetensors"),
)
WAYS = {
    "exact": {},
    **{f"r = {ratio}": {"fit_at": ratio} for ratio in (8, 4, 2, 1)},
    "convolve_fit 4": {"convolve_fit": 4},
}


def held_out(name: str, artifact: str, most: int) -> tuple[Mixture, Tensor]:
    """The validation shapes of a network's own training, or so many of them, drawn at random; their labels."""
    metadata, data = read_metadata(model_path(Path(name))), read_split(artifact, TRAIN)
    if data.class_names != metadata["class_names"]:
        raise InputError(f"{artifact} has other classes than those that {name} knows")
    fraction = metadata["settings"]["training"]["validation_fraction"]
    _, chosen = stratified_split(data.labels, fraction, metadata["seed"])
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))[:most]
    chosen = chosen[order.sort().values]
    return select(data.inputs, chosen), data.labels[chosen]


def exchanged(model: GMCN, options: dict[str, int]) -> GMCN:
    """The same network with these options, in evaluation mode."""
    other = build({**model.config, **options, "seed": None})
    other.load_state_dict(model.state_dict())
    return other.eval()


def layer_errors(networks: dict[str, GMCN], mixture: Mixture, positions: int) -> dict[str, list[float | None]]:
    """Of every way and layer, over about so many positions per layer."""
    exact = networks["exact"]
    sums = {way: [ErrorSum() for _ in exact.blocks] for way in networks}
    generator = torch.Generator().manual_seed(0)
    for batch, _ in batches_in_order(mixture, None, BATCH):
        data = exact.normalize_input(batch)
        for index, block in enumerate(exact.blocks):
            convolved = block.convolve(data)
            count = -(-positions // (len(mixture.weights) * convolved.weights.shape[1]))
            points = random_positions(convolved.positions, convolved.covariances, count, generator)
            truth = ops.evaluate(convolved, points).clamp(min=0)
            reduced = {way: network.blocks[index].stages(data)[2] for way, network in networks.items()}
            for way, result in reduced.items():
                sums[way][index].add(truth, ops.evaluate(result, points))
            data = block.onward(data, reduced["exact"])
    return {way: [errors.result()["standardised"] for errors in layers] for way, layers in sums.items()}


def accuracy(network: GMCN, mixture: Mixture, labels: Tensor, *, of_batch: bool) -> float:
    network = copy.deepcopy(network).train(of_batch)  # a copy: training mode changes the running statistics
    return float((network(mixture).argmax(-1) == labels).float().mean())


@torch.no_grad()
def rows_of(name: str, model: GMCN, mixture: Mixture, labels: Tensor, options: Namespace) -> Iterator[dict[str, Any]]:
    """One row for each way."""
    progress(f"fidelity: {name}, {len(labels)} shapes")
    more = {key: getattr(options, key) for key in ("fit_at_least", "fit_at_last")}
    networks = {way: exchanged(model, changes | more).to(options.device) for way, changes in WAYS.items()}
    mixture, labels = mixture.to(options.device), labels.to(options.device)
    errors = layer_errors(networks, mixture, options.positions)
    for way, network in networks.items():
        row: dict[str, Any] = {"network": name, "layers": way}
        row |= {f"error, layer {index + 1}": error for index, error in enumerate(errors[way])}
        row["accuracy, running"] = accuracy(network, mixture, labels, of_batch=False)
        row["accuracy, batch"] = accuracy(network, mixture, labels, of_batch=True)
        yield row | {"shapes": len(labels)}


def main() -> None:
    words = "a network (its file or the name of a pretrained one) and the mixtures that it was trained on; repeatable"
    network = {"nargs": 2, "action": "append", "metavar": ("NAME", "MIXTURES"), "help": words}
    options = arguments(
        __doc__,
        ("--network", network),
        ("--shapes", {"type": int, "default": 400, "help": "validation shapes at most (default: 400)"}),
        ("--positions", {"type": int, "default": 50_000, "help": "random positions per layer (default: 50000)"}),
        ("--fit-at-least", {"type": int, "default": 16, "help": "nodes that a layer has at least (default: 16)"}),
        ("--fit-at-last", {"type": int, "default": 64, "help": "nodes of the last layer (default: 64)"}),
    )
    if options.smoke:
        options.positions = 100
    rows: list[dict[str, Any]] = []
    for name, artifact in options.network or GIVEN:
        model = load(name)
        if options.smoke:
            mixture = random_mixture(4, 8, dim=model.dim, positive=True)
            labels = torch.arange(4)
        else:
            mixture, labels = held_out(name, artifact, options.shapes)
        rows += rows_of(name, model, mixture, labels, options)
    report("fidelity", __doc__, rows, options)


if __name__ == "__main__":
    main()
