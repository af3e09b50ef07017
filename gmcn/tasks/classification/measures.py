"""Accuracy, loss and the confusion of classes on a test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_confusion_matrix

from gmcn.data.objects import MixtureSet, batches_in_order
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.pictures.charts import draw_confusion
from gmcn.tasks.classification.objective import ACCURACY, LOSS

BATCH = 32  # bounds memory; every shape is evaluated by itself, so that it changes no result


class Measures:
    """How many shapes of a test split a network classifies right."""

    metrics = (ACCURACY, LOSS)
    headline = ACCURACY
    averaged = ("accuracy", "loss", "per_class")

    def measure(
        self,
        network: Network,
        data: MixtureSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
    ) -> dict[str, Any]:
        """Accuracy, loss, accuracy per class, confusion matrix (rows: true classes) and predictions."""
        return measure(predict(network, data, device, progress), data)

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: MixtureSet, folder: Path) -> list[Path]:
        """The confusion matrix of all seeds."""
        path = folder / "confusion.png"
        draw_confusion([seed["confusion"] for seed in seeds], data.class_names, path)
        return [path]


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
