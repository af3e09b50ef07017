"""Cross-entropy, with the share of objects that are right beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from gmcn.models import Network
from gmcn.tasks.task import Metric, Settings

LOSS = Metric("loss", "cross-entropy", "nats")
ACCURACY = Metric("accuracy", "accuracy", larger_is_better=True)


class Objective:
    """The mean cross-entropy of logits [B, classes], smoothed by ``label_smoothing`` in training."""

    metrics = (LOSS, ACCURACY)
    watched = LOSS
    counted = ("correct",)

    def __init__(self, settings: Settings) -> None:
        self.smoothing = settings.label_smoothing

    def loss(self, network: Network, inputs: Any, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy with the network's penalty, and how many are right."""
        logits, penalty = network.outputs_and_penalty(inputs)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.smoothing) + penalty
        return loss, {"correct": (logits.argmax(1) == labels).sum()}

    def measure(self, network: Network, inputs: Any, labels: Tensor) -> dict[str, Tensor]:
        """The sum of the plain cross-entropy, and how many are right."""
        logits = network(inputs)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        return {"loss": loss, "correct": (logits.argmax(1) == labels).sum()}

    def means(self, sums: Mapping[str, float], count: float) -> dict[str, float]:
        """Loss and accuracy."""
        return {"loss": sums["loss"] / count, "accuracy": sums["correct"] / count}
