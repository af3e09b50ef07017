"""The stage `evaluate`: the measures of the task on the test split, for every seed and over all seeds."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gmcn import tasks
from gmcn.artifacts import write_json
from gmcn.data.objects import MIXTURES, TEST, Inputs, ObjectSet, read_split
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.progress import Progress
from gmcn.results.networks import load_networks
from gmcn.results.origin import origin
from gmcn.results.seeds import over_seeds
from gmcn.tasks import DEFAULT_TASK
from gmcn.tracking import NO_RUN, Run
from gmcn.training import TrainingSettings
from gmcn.training.refitting import FreshFits, votes_of

log = logging.getLogger(__name__)


@own_defaults()
def evaluate(
    artifact: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    outliers: str | os.PathLike | None = None,
    points: str | os.PathLike | None = None,
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Test the networks of all seeds; writes ``output`` and the task's pictures beside it.

    ``settings`` may say the ``task`` (default: classification), and how many ``votes`` a classifier gives on each
    object; these are cast on new fits of ``points``, what mixtures were fitted to. ``outliers`` are the points of
    another data set, whose test objects a density should find. Where there is no matplotlib,
    as on a machine that only trains, there is no picture, and a line that says so.

    Returns what it writes: per seed what the task measures; mean and unbiased standard deviation (None for one seed)
    over the seeds; ``metrics`` are the names of the task's numbers, and by its ``headline`` results are compared.
    Raises :class:`gmcn.errors.InputError` when objects and networks do not belong together.
    """
    task, votes = (settings or {}).get("task", DEFAULT_TASK), (settings or {}).get("votes")
    measures = tasks.measures(task)
    device = select_device(device)
    data = read_split(artifact, TEST)
    networks = load_networks(models, data, device)
    others = None if outliers is None else _others(outliers, data, measures)
    if votes and not hasattr(measures, "voted"):
        raise InputError("this task has no votes; leave `votes` out")
    # The seeds of a variant have one training's settings.
    variations = list(varied(data, points, networks[0].metadata, votes, device)) if votes else []
    seeds, headline = {}, measures.headline
    with Progress() as bar:
        bar_task = bar.add_task("evaluate", total=len(networks) * len(data))
        for network in networks:
            said = functools.partial(bar.advance, bar_task)
            found = measures.measure(network.model, data, device, said, network.metadata)
            if others is not None:
                found |= measures.beside(network.model, found, data, others, device)
            if votes:
                found |= measures.voted(network.model, data, variations, device)
            seeds[str(network.seed)] = {**found, "model": network.source}
            log.info("seed %s: %s %.4f", network.seed, headline.title, found[headline.name])
    names = [metric.name for metric in measures.metrics]
    mean, deviation = over_seeds([{key: seed[key] for key in (*names, *measures.details)} for seed in seeds.values()])
    result = {
        **origin(artifact, data, run),
        "task": task,
        "metrics": names,
        "headline": headline.name,
        "larger_is_better": headline.larger_is_better,
        "class_names": data.class_names,
        "shapes": len(data),
        "seeds": seeds,
        "mean": mean,
        "std": deviation,
        "names": data.names,
        "labels": None if data.labels is None else data.labels.tolist(),
        "device": str(device),
    }
    write_json(output, result)
    run.log_metrics({f"test/{name}": mean[name] for name in names})
    run.log_metrics({f"test/{headline.name}_std": deviation[headline.name]})
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no pictures of the measurements: matplotlib is not installed")
        return result
    # Classification's confusion lies beside the numbers, whatever other tasks draw in a folder of their own.
    folder = Path(output).parent if task == DEFAULT_TASK else Path(output).with_name("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for picture in measures.pictures(list(seeds.values()), data, folder):
        run.log_artifact(picture)
    return result


def varied(
    data: ObjectSet,  # test objects
    points: str | os.PathLike | None,
    metadata: Mapping[str, Any],  # of a network's file
    votes: int,
    device: torch.device | str = "cpu",
) -> Iterator[Inputs]:
    """Variations of all objects, as many as ``votes``, each as the network's training would have drawn it."""
    training = TrainingSettings.read((metadata.get("settings") or {}).get("training", {}))
    prepare = tasks.objective(training).prepare
    if data.kind != MIXTURES:
        return votes_of(prepare, data.inputs, training, votes)
    fresh = FreshFits(data, points, training.views, split=TEST, device=device)
    return votes_of(prepare, fresh.clouds, training, votes, fresh)


def _others(path: str | os.PathLike, data: ObjectSet, measures: Any) -> ObjectSet:
    """The test objects of another data set; they have to be like those of ``data``."""
    if not hasattr(measures, "beside"):
        raise InputError("this task finds no outliers; leave `outliers` out, or set `task: density`")
    others = read_split(path, TEST)
    said = [f"{one.kind} of shape {one.traits['shape']}" for one in (others, data)]
    if said[0] != said[1]:
        raise InputError(
            f"the outliers of {path} are {said[0]}, and this network's objects {said[1]}; name another set"
        )
    return others
