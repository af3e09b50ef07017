"""The stage `probe`: how well every layer's dense fit and reduction follow the exact function (tables 3, 10, 11)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gmcn import ops
from gmcn.artifacts import write_json
from gmcn.data.objects import TEST, read_split, select
from gmcn.declared import Seed, at_least, read
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.models import GMCN
from gmcn.progress import Progress
from gmcn.results.networks import load_networks
from gmcn.results.origin import origin
from gmcn.results.rmse import ErrorSum, random_positions
from gmcn.results.seeds import over_seeds
from gmcn.tracking import NO_RUN, Run

log = logging.getLogger(__name__)

BATCH = 8  # shapes at a time; bounds memory


@dataclass(frozen=True)
class ProbeSettings:
    """Measurement of the fitting errors, layer by layer (tables 3, 10 and 11 of the paper)."""

    positions: Annotated[int, at_least(1), "Random positions at which mixtures are compared, per layer."] = 100_000
    shapes: Annotated[int, at_least(1), "Test shapes that are measured."] = 64
    seed: Seed = 0


@own_defaults()
def probe(
    artifact: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    settings: Mapping[str, Any],
    output: str | os.PathLike,
    device: str = "auto",
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Measure the fitting errors of every layer on shapes of the test split; writes ``output`` and returns it.

    ``settings`` are those of :class:`ProbeSettings`. Per seed and layer: the errors ``all`` (fitted and reduced against
    max(f, 0) of the convolved mixture f), ``relu`` (dense fit against max(f, 0)) and ``reduction`` (reduced against the
    dense fit), each as plain ``rmse`` and ``standardised``. Where a layer fits the convolution first
    (``convolve_fit``), f is the exact one all the same, and ``relu`` the error of both fits; where it fits at nodes
    (``fit_at``), ``relu`` is the error of these nodes. Beside such errors stand, under ``exact``, those of the exact
    convolution and the dense fit at all its centres, for the same f. Raises :class:`gmcn.errors.InputError` for
    networks without mixtures inside, which have no such layers.
    """
    own = read(ProbeSettings, settings, "probe")
    device = select_device(device)
    data = read_split(artifact, TEST)
    generator = torch.Generator().manual_seed(own.seed)
    chosen = torch.randperm(len(data), generator=generator)[: own.shapes].sort().values
    sample = select(data.inputs, chosen)
    networks = load_networks(models, data, device)
    seeds = {}
    with Progress() as bar:
        task = bar.add_task("probe", total=len(networks) * len(chosen))
        for network in networks:
            if not isinstance(network.model, GMCN):
                raise InputError(f"{network.source['path']} has no mixtures inside, so it has no fitting errors")
            layers = probe_network(
                *(network.model, sample.to(device), own.positions, own.seed),
                progress=lambda count: bar.advance(task, count),
            )
            seeds[str(network.seed)] = {"layers": layers, "model": network.source}
    mean, deviation = over_seeds([seed["layers"] for seed in seeds.values()])
    result = {
        **origin(artifact, data, run),
        "settings": asdict(own),
        "shapes": len(chosen),
        "seeds": seeds,
        "mean": {"layers": mean},
        "std": {"layers": deviation},
        "device": str(device),
    }
    write_json(output, result)
    for layer in mean:
        numbers = (layer[kind]["rmse"] for kind in KINDS)
        log.info("layer %s: RMSE %.4g (dense fit %.4g, reduction %.4g)", layer["layer"], *numbers)
    for index, layer in enumerate(mean):
        numbers = {f"rmse/{kind}/{unit}": value for kind in KINDS for unit, value in layer[kind].items()}
        for kind, errors in layer.get("exact", {}).items():
            numbers |= {f"rmse/exact/{kind}/{unit}": value for unit, value in errors.items()}
        run.log_metrics(numbers, step=index)
    return result


KINDS = ("all", "relu", "reduction")


class _Errors:
    """Those of one layer's fit and reduction, against the rectified function."""

    def __init__(self) -> None:
        self.sums = {kind: ErrorSum() for kind in KINDS}

    def add(
        self,
        points: Tensor,  # [B, G, M, D]
        truth: Tensor,  # [B, G, M]
        fitted: Mixture,  # [B, G, N]
        reduced: Mixture,  # [B, G, P]
    ) -> None:
        dense, sparse = ops.evaluate(fitted, points), ops.evaluate(reduced, points)
        for kind, pair in zip(KINDS, ((truth, sparse), (truth, dense), (dense, sparse)), strict=True):
            self.sums[kind].add(*pair)

    def results(self) -> dict[str, Any]:
        return {kind: errors.result() for kind, errors in self.sums.items()}


@torch.no_grad()
def probe_network(
    model: GMCN,
    mixture: Mixture,  # [S, N]
    positions: int,
    seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """Errors of every layer of ``model``, over at least ``positions`` positions per layer.

    ``progress`` is told how many more shapes are done.
    """
    sums = [_Errors() for _ in model.blocks]
    exact = {index: _Errors() for index, block in enumerate(model.blocks) if block.convolve_fit or block.fit_at}
    shapes = len(mixture.weights)
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, shapes, BATCH):
        data = model.normalize_input(mixture.map(lambda tensor, start=start: tensor[start : start + BATCH]))
        for index, block in enumerate(model.blocks):
            convolved, fitted, reduced = block.stages(data)
            if block.convolve_fit is not None:
                convolved = block.convolve(data)
            count = -(-positions // (shapes * convolved.weights.shape[1]))
            points = random_positions(convolved.positions, convolved.covariances, count, generator)
            truth = ops.evaluate(convolved, points).clamp(min=0)
            sums[index].add(points, truth, fitted, reduced)
            if index in exact:
                dense = block.relu_fit(convolved)
                exact[index].add(points, truth, dense, block.reduction(dense))
            data = block.onward(data, reduced)
        progress(min(BATCH, shapes - start))
    return [
        {
            "layer": f"{block.convolution.in_channels} -> {block.convolution.out_channels}",
            "positions": errors.sums["all"].count,
            **errors.results(),
            **({"exact": exact[index].results()} if index in exact else {}),
        }
        for index, (block, errors) in enumerate(zip(model.blocks, sums, strict=True))
    ]
