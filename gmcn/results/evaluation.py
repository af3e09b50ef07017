"""The stage `evaluate`: what the task measures on the test split, for every seed and over all of them."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmcn import tasks
from gmcn.artifacts import provenance, read_metadata, sha256, write_json
from gmcn.data.objects import TEST, read_split
from gmcn.device import own_defaults, select_device
from gmcn.progress import Progress
from gmcn.results.networks import load_networks
from gmcn.results.seeds import over_seeds

log = logging.getLogger(__name__)


@own_defaults()
def evaluate(
    mixtures: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    device: str = "auto",
    run: Any = None,
) -> dict[str, Any]:
    """Test the networks of all seeds; writes ``output`` and the task's pictures beside it.

    Where there is no matplotlib, as on a machine that only trains, there is no picture, and a line that says so.

    Returns what it writes: per seed what the task measures; mean and unbiased standard deviation (None for one seed)
    over the seeds. Raises :class:`gmcn.errors.InputError` when mixtures and networks do not belong together.
    """
    measures = tasks.measures()
    device = select_device(device)
    data = read_split(mixtures, TEST)
    networks = load_networks(models, data, device)
    seeds = {}
    with Progress() as bar:
        task = bar.add_task("evaluate", total=len(networks) * len(data))
        for network in networks:
            found = measures.measure(network.model, data, device, lambda count: bar.advance(task, count))
            seeds[str(network.seed)] = {**found, "model": network.source}
            headline = measures.headline
            log.info("seed %s: test %s %.*f", network.seed, headline.name, headline.digits, found[headline.name])
    numbers = [{key: seed[key] for key in measures.averaged} for seed in seeds.values()]
    mean, deviation = over_seeds(numbers)
    metadata = read_metadata(mixtures)
    result = {
        "dataset": metadata.get("dataset"),
        "fit": metadata.get("fit"),
        "class_names": data.class_names,
        "shapes": len(data),
        "seeds": seeds,
        "mean": mean,
        "std": deviation,
        "names": data.names,
        "labels": data.labels.tolist(),
        "inputs": {"mixtures": str(mixtures), "sha256": sha256(mixtures), "run_id": metadata.get("run_id")},
        "device": str(device),
        "run_id": getattr(run, "id", None),
        "provenance": provenance(),
    }
    write_json(output, result)
    if run is not None:
        run.log_metrics({f"test/{metric.name}": mean[metric.name] for metric in measures.metrics})
        name = measures.headline.name
        if deviation[name] is not None:
            run.log_metrics({f"test/{name}_std": deviation[name]})
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no picture of what was measured: matplotlib is not installed")
        return result
    for picture in measures.pictures(list(seeds.values()), data, Path(output).parent):
        if run is not None:
            run.log_artifact(picture)
    return result
