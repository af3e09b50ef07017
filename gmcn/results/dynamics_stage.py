"""The stage `dynamics`: how the measures of Gaussian mixture layers have moved in training, and how they still move."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from gmcn import tasks
from gmcn.artifacts import read_metadata, write_json
from gmcn.data.objects import TRAIN, ObjectSet, batches_in_order, count, each, read_split, select
from gmcn.declared import Seed, at_least, read
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.launching import HOW
from gmcn.models import Network
from gmcn.models.loading import load
from gmcn.progress import Progress
from gmcn.results.flow import components, distance, flows, mixture_layers, residual
from gmcn.results.networks import TrainedNetwork, load_networks
from gmcn.results.origin import origin
from gmcn.results.seeds import over_seeds
from gmcn.stages.paths import snapshot_of
from gmcn.tasks import DEFAULT_TASK
from gmcn.tasks.task import Objective
from gmcn.tracking import NO_RUN, Run
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)

BATCH = 256  # objects at a time


@dataclass(frozen=True)
class DynamicsSettings:
    """Measurement of how the mixtures of Gaussian mixture layers move (docs/gm_layers.md)."""

    objects: Annotated[int, at_least(1), "Training objects whose loss makes the measure flow."] = 2000
    neurons: Annotated[int, at_least(2), "Neurons that are drawn of a layer to measure the residual."] = 4000
    seed: Seed = 0


@own_defaults()
def dynamics(
    artifact: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    settings: Mapping[str, Any],
    output: str | os.PathLike,
    device: str = "auto",
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Measure the Gaussian mixture layers of networks and of their snapshots; writes ``output``, and a picture beside.

    ``settings`` are those of :class:`DynamicsSettings`. Per seed and layer: ``epochs`` with the numbers of
    :func:`gmcn.results.flow.components` and :func:`gmcn.results.flow.residual` after each epoch that there is a
    snapshot of (``training.snapshots``) and the last; ``path`` with :func:`gmcn.results.flow.distance` between each of
    these and the one before; ``length``, the sum. The loss is that of the training, on training objects as they are.
    ``measure.png`` and ``.svg`` show the first seed. A distance of low-rank covariances takes K singular value
    decompositions in d + 1 + o dimensions. Raises :class:`gmcn.errors.InputError` for networks without such layers and
    for snapshots that are missing or of another training.
    """
    own = read(DynamicsSettings, settings, "dynamics")
    device = select_device(device)
    data = read_split(artifact, TRAIN)
    networks = load_networks(models, data, device)
    for network in networks:
        if not mixture_layers(network.model):
            raise InputError(f"{network.source['path']} has no Gaussian mixture layers, so no measure that moves")
    ways = [dict(_way(network, device)) for network in networks]
    seeds = {}
    with Progress() as bar:
        task = bar.add_task("dynamics", total=sum(map(len, ways)))
        for network, way in zip(networks, ways, strict=True):
            found: dict[int, Any] = {}
            for epoch, model in way.items():
                found[epoch] = measure(model, data, network.metadata, own, device)
                before = way[list(found)[-2]] if len(found) > 1 else None
                for name, layer in mixture_layers(model).items():
                    if before is not None:
                        found[epoch][name]["path"] = distance(mixture_layers(before)[name], layer)
                bar.advance(task)
            seeds[str(network.seed)] = {"layers": _by_layer(found), "model": network.source}
    mean, deviation = over_seeds([seed["layers"] for seed in seeds.values()])
    result = {
        **origin(artifact, data, run),
        "settings": asdict(own),
        "seeds": seeds,
        "mean": {"layers": mean},
        "std": {"layers": deviation},
        "device": str(device),
    }
    write_json(output, result)
    _report(mean, run)
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no picture of the measures: matplotlib is not installed")
        return result
    from gmcn.pictures.measure_figures import draw_measures

    lengths = {seed: [layer["path"] for layer in entry["layers"]] for seed, entry in seeds.items()}
    shown = {epoch: mixture_layers(model) for epoch, model in ways[0].items()}
    for picture in draw_measures(shown, lengths, Path(output).with_name("measure")):
        run.log_artifact(picture)
    return result


def _way(network: TrainedNetwork, device: torch.device) -> Iterator[tuple[int, Network]]:
    """The network after its epochs, the trained one last."""
    training = network.metadata["settings"]["training"]
    for epoch in sorted(training.get("snapshots", ())):
        if epoch == training["epochs"]:
            continue
        path = snapshot_of(Path(network.source["path"]).parent, epoch)
        if _what(read_metadata(path)) != _what(network.metadata):
            raise InputError(f"{path} is of another training than {network.source['path']}; train it again")
        yield epoch, load(path, device=device)
    yield training["epochs"], network.model


def _what(metadata: Mapping[str, Any]) -> list[Any]:
    """What a network's file says of its training that no start from a checkpoint may change."""
    training = metadata.get("settings", {}).get("training", {})
    what = {key: value for key, value in training.items() if key not in HOW}
    return [metadata["network"], what, metadata.get("seed"), metadata.get("inputs", {}).get("sha256")]


def measure(
    model: Network, data: ObjectSet, metadata: Mapping[str, Any], settings: DynamicsSettings, device: torch.device
) -> dict[str, dict[str, Any]]:
    """The numbers of each mixture layer of a network, by its name."""
    training = TrainingSettings.read(metadata["settings"]["training"])
    objective = tasks.objective(training, metadata.get("task", DEFAULT_TASK))
    objective.learn(data.labels, len(data.class_names))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(settings.seed))
    chosen = order[: settings.objects].sort().values
    found = flows(model, _losses(model, objective, data, chosen, device))
    return {
        name: {
            **components(layer, found[name].inputs),
            **residual(layer, found[name], settings.neurons, torch.Generator().manual_seed(settings.seed)),
        }
        for name, layer in mixture_layers(model).items()
    }


def _losses(
    model: Network, objective: Objective, data: ObjectSet, chosen: torch.Tensor, device: torch.device
) -> Iterator[Any]:
    """Functions that add up to the mean loss over the ``chosen`` objects."""
    labels = None if data.labels is None else data.labels[chosen]
    for inputs, own in batches_in_order(select(data.inputs, chosen), labels, BATCH):
        given = each(inputs, lambda tensor: tensor.to(device))
        share = count(given) / len(chosen)
        answers = None if own is None else own.to(device)
        yield lambda given=given, answers=answers, share=share: share * objective.loss(model, given, answers)[0]


def _by_layer(found: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    last = found[max(found)]
    layers = []
    for name in last:
        epochs = {str(epoch): dict(numbers[name]) for epoch, numbers in found.items()}
        path = {epoch: entry.pop("path") for epoch, entry in epochs.items() if "path" in entry}
        length = sum(step["length"] for step in path.values()) if path else None
        layers.append({"layer": name, "epochs": epochs, "path": path, "length": length})
    return layers


def _report(mean: Sequence[Mapping[str, Any]], run: Run) -> None:
    for layer in mean:
        for epoch, numbers in layer["epochs"].items():
            said = {**numbers, **layer["path"].get(epoch, {})}
            run.log_metrics(
                {f"measure/{layer['layer']}/{name}": value for name, value in said.items()}, step=int(epoch)
            )
        log.info(
            "layer %s: residual %.3f ± %.3f, %.1f of %d components in effect, %d dead",
            layer["layer"],
            *(numbers[name] for name in ("residual", "residual_error", "effective_by_output", "components", "dead")),
        )
