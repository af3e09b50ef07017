"""Cross-entropy, with the share of objects that are right beside it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gmcn.data.objects import MIXTURES, POINTS, Inputs, ObjectSet
from gmcn.data.views import view
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.models import Network
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import Objective as Base

LOSS = Metric("loss", "cross-entropy", "nats")
ACCURACY = Metric("accuracy", "accuracy", "%", 2, larger_is_better=True, scale=100)


class Objective(Base):
    """The mean cross-entropy of logits [B, classes], smoothed by ``label_smoothing`` in training.

    With ``training.logit_adjustment`` it is that of the logits plus so many times the logarithms of the classes'
    frequencies: the logits themselves are then for classes that are equally frequent (Menon, Jayasumana, Rawat, Jain,
    Veit and Kumar, "Long-tail learning via logit adjustment", 2021, equation 10).

    With ``training.views`` a network is trained on parts of clouds, or on mixtures of these, and answers about wholes.
    """

    metrics = (LOSS, ACCURACY)
    watched = LOSS
    of_views = True
    adjusts_logits = True
    adjustment: Tensor | None = None  # [classes], 0 where a class has no objects

    def check(self, data: ObjectSet) -> None:
        """Refuse a single class, and views of what is no cloud."""
        super().check(data)
        if len(data.class_names) < 2:
            raise InputError(
                f"{data.metadata.get('dataset')} has one class, {data.class_names[0]}: there is nothing to tell apart; "
                "set another `task`"
            )
        if self.settings.views is not None and (data.kind not in (MIXTURES, POINTS) or data.traits["dim"] != 3):
            flat = " of two dimensions" if data.kind in (MIXTURES, POINTS) else ""
            raise InputError(f"training.views are parts of clouds, and these are {data.kind}{flat}; leave them out")

    def learn(self, labels: Tensor | None, classes: int) -> None:
        """How frequent each class is among objects of training and validation."""
        if self.settings.logit_adjustment and labels is not None:
            counts = labels.bincount(minlength=classes)
            shares = torch.where(counts > 0, counts / counts.sum(), 1)
            self.adjustment = self.settings.logit_adjustment * shares.log()

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Of clouds the part that is seen, augmented. (Mixtures have been fitted to it.)"""
        if self.settings.views is not None and not isinstance(inputs, Mixture):
            inputs = view(inputs, self.settings.views, generator)
        return super().prepare(inputs, generator)

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], [B] each
        """Mean cross-entropy with the network's penalty, and which objects are right."""
        assert labels is not None  # by `check`
        logits, penalty = network.outputs_and_penalty(inputs)
        adjusted = logits
        if self.settings.logit_adjustment:
            if self.adjustment is None:
                raise RuntimeError("training.logit_adjustment needs the classes' frequencies: call learn() first")
            self.adjustment = self.adjustment.to(logits)
            adjusted = logits + self.adjustment
        loss = functional.cross_entropy(adjusted, labels, label_smoothing=self.settings.label_smoothing) + penalty
        return loss, {ACCURACY.name: logits.argmax(1) == labels}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B] each
        """The plain cross-entropy of each object, and whether it is right."""
        assert labels is not None
        logits = network(inputs)
        loss = functional.cross_entropy(logits, labels, reduction="none")
        return {LOSS.name: loss, ACCURACY.name: logits.argmax(1) == labels}
