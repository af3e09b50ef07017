"""Accuracy, loss and the confusion of classes on a test split.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.classification.measures_of_answers import ACCURACY, METRICS, measure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gmcn.data.objects import Inputs, ObjectSet
    from gmcn.models import Network

BATCH = 32  # bounds memory; every shape is evaluated by itself, so that it changes no result


class Measures:
    """How many objects of a test split a network classifies right."""

    metrics = METRICS
    headline = ACCURACY
    details = ("per_class", "voted")

    def measure(
        self,
        network: Network,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The metrics, accuracy per class, confusion matrix (rows: true classes), predictions and their probability."""
        return {**measure(predict(network, data, device, progress), data), "voted": None}

    def voted(
        self, network: Network, data: ObjectSet, variations: Iterable[Inputs], device: torch.device | str = "cpu"
    ) -> dict[str, Any]:
        """``voted``: the metrics of the mean probabilities over variations of all objects, and how many there are."""
        import torch

        from gmcn.data.objects import ObjectSet

        answers = []  # logarithms of probabilities, of which none is minus infinity
        for inputs in variations:
            other = ObjectSet(data.kind, inputs, data.labels, data.names, data.metadata)
            answers.append(predict(network, other, device).double().log_softmax(1))
        found = measure(torch.stack(answers).logsumexp(0) - math.log(len(answers)), data)
        return {"voted": {"votes": len(answers), **{metric.name: found[metric.name] for metric in self.metrics}}}

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """The confusion matrix of all seeds, beside how right they are where they are so sure; and their mistakes."""
        from gmcn.pictures.charts import draw_confusion
        from gmcn.pictures.mistakes import draw_mistakes

        assert data.labels is not None
        path, labels = folder / "confusion.png", data.labels.tolist()
        sure = [confidence for seed in seeds for confidence in seed["confidences"]]
        right = [said == label for seed in seeds for said, label in zip(seed["predictions"], labels, strict=True)]
        draw_confusion([seed["confusion"] for seed in seeds], data.class_names, path, (sure, right))
        return [path, draw_mistakes(seeds, data, folder / "mistakes.png")]

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The file has to name the network's classes."""
        names, classes = metadata.get("class_names"), network.config["classes"]
        if not isinstance(names, list) or list(map(type, names)) != [str] * classes:
            raise InputError(f"{path} does not name its {classes} classes; train it again")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any], votes: int | None = None
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The most probable class, its probability, and those of all classes in the order of the network's.

        With ``votes`` of the mean probabilities for so many inputs that follow each other.
        """
        logits = network(inputs).double()
        if votes is not None:
            logits = logits.log_softmax(1).unflatten(0, (-1, votes)).logsumexp(1)
        answers: list[dict[str, Any] | None] = []
        for finite, row in zip(logits.isfinite().all(1).tolist(), logits.softmax(1).tolist(), strict=True):
            probabilities = dict(zip(metadata["class_names"], row, strict=True))
            best = max(range(len(row)), key=row.__getitem__)
            answer = {"class": metadata["class_names"][best], "probability": row[best], "probabilities": probabilities}
            answers.append(answer if finite else None)
        return answers


def predict(
    model: Network,
    data: ObjectSet,
    device: torch.device | str = "cpu",
    progress: Callable[[int], object] = lambda _: None,
) -> Tensor:  # [S, classes]
    """Logits of all objects of a set; ``progress`` is told how many more there are, now and then."""
    import torch

    from gmcn.data.objects import batches_in_order, count, each

    logits = []
    with torch.no_grad():
        for inputs, _ in batches_in_order(data.inputs, None, BATCH):
            logits.append(model(each(inputs, lambda tensor: tensor.to(device))).cpu())
            progress(count(inputs))
    return torch.cat(logits)
