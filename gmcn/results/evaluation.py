"""The stage `evaluate`: accuracy on the test split, for every seed and over all of them."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_confusion_matrix

from gmcn.artifacts import provenance, read_metadata, sha256, write_json
from gmcn.data.objects import TEST, MixtureSet, batches_in_order, read_split
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.pictures.charts import draw_confusion
from gmcn.progress import Progress
from gmcn.results.networks import load_networks
from gmcn.results.seeds import over_seeds

log = logging.getLogger(__name__)

BATCH = 32  # bounds memory; every shape is evaluated by itself, so that it changes no result


@own_defaults()
def evaluate(
    mixtures: str | os.PathLike,
    *,
    models: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    device: str = "auto",
    run: Any = None,
) -> dict[str, Any]:
    """Test the networks of all seeds; writes ``output`` and a picture of the confusion matrix beside it.

    Where there is no matplotlib, as on a machine that only trains, there is no picture, and a line that says so.

    Returns what it writes: per seed accuracy, loss, accuracy per class, confusion matrix (rows: true classes) and
    predictions; mean and unbiased standard deviation (None for one seed) over the seeds. Raises
    :class:`gmcn.errors.InputError` when mixtures and networks do not belong together.
    """
    device = select_device(device)
    data = read_split(mixtures, TEST)
    networks = load_networks(models, data, device)
    seeds = {}
    with Progress() as bar:
        task = bar.add_task("evaluate", total=len(networks) * len(data))
        for network in networks:
            logits = predict(network.model, data, device, lambda count: bar.advance(task, count))
            seeds[str(network.seed)] = {**measure(logits, data), "model": network.source}
            log.info("seed %s: test accuracy %.4f", network.seed, seeds[str(network.seed)]["accuracy"])
    numbers = [{key: seed[key] for key in ("accuracy", "loss", "per_class")} for seed in seeds.values()]
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
        run.log_metrics({"test/accuracy": mean["accuracy"], "test/loss": mean["loss"]})
        if deviation["accuracy"] is not None:
            run.log_metrics({"test/accuracy_std": deviation["accuracy"]})
    if importlib.util.find_spec("matplotlib") is None:
        log.info("no picture of the confusion matrix: matplotlib is not installed")
        return result
    picture = Path(output).with_name("confusion.png")
    draw_confusion([seed["confusion"] for seed in seeds.values()], data.class_names, picture)
    if run is not None:
        run.log_artifact(picture)
    return result


@torch.no_grad()
def predict(
    model: Network,
    data: MixtureSet,
    device: torch.device | str = "cpu",
    progress: Callable[[int], object] = lambda _: None,
) -> Tensor:  # [S, classes]
    """Logits of all shapes of a set; ``progress`` is told how many more there are, now and then."""
    logits = []
    for mixture, labels in batches_in_order(data.mixture, data.labels, BATCH):
        logits.append(model(mixture.to(device)).cpu())
        progress(len(labels))
    return torch.cat(logits)


def measure(logits: Tensor, data: MixtureSet) -> dict[str, Any]:  # logits [S, classes]
    """Accuracy, loss, confusion and predictions. A class without test shapes has the accuracy None."""
    bad = (~logits.isfinite().all(1)).nonzero().squeeze(1)
    if len(bad):
        raise InputError(
            f"the network's output for '{data.names[int(bad[0])]}' is not finite ({len(bad)} of {len(data)} shapes); "
            "train it again with a lower training.learning_rate"
        )
    predictions = logits.argmax(1)
    confusion = multiclass_confusion_matrix(predictions, data.labels, num_classes=len(data.class_names))
    right, total = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return {
        "accuracy": sum(right) / len(data),
        "loss": functional.cross_entropy(logits.double(), data.labels).item(),
        "per_class": {
            name: hits / count if count else None
            for name, hits, count in zip(data.class_names, right, total, strict=True)
        },
        "confusion": confusion.tolist(),
        "predictions": predictions.tolist(),
    }
