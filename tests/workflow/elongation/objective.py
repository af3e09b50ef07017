"""The squared error of a network's one output, with the absolute error beside it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gmcn.data.objects import POINTS, Inputs, ObjectSet
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import Objective as Base

LOSS = Metric("loss", "mean squared error")
ERROR = Metric("error", "mean absolute error", digits=3)
SMALLEST = 1e-3  # an extent below it counts as this much: a flat object would be infinitely elongated


def elongation(points: Tensor) -> Tensor:  # [B, M, D] -> [B]
    """The largest extent along an axis, over the smallest."""
    extents = points.amax(1) - points.amin(1)
    return extents.amax(1) / extents.amin(1).clamp(min=SMALLEST)


class Objective(Base):
    """What the network has to say is computed from its inputs: no object needs a label."""

    metrics = (LOSS, ERROR)
    watched = LOSS
    needs_labels = False

    def traits(self, data: ObjectSet) -> dict[str, Any]:
        """The network has one output, whatever classes there are."""
        return data.traits | {"classes": 1}

    def check(self, data: ObjectSet) -> None:
        """Only points have an extent."""
        super().check(data)
        if data.kind != POINTS:
            raise InputError(f"the task elongation takes points, and these are {data.kind}; set `fit: null`")

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], [B] each
        """Mean squared error with the network's penalty, and the absolute error of each object."""
        outputs, penalty = network.outputs_and_penalty(inputs)
        errors = outputs.squeeze(1) - elongation(inputs)
        return errors.square().mean() + penalty, {ERROR.name: errors.detach().abs()}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B] each
        """The squared and absolute error of each object."""
        errors = network(inputs).squeeze(1) - elongation(inputs)
        return {LOSS.name: errors.square(), ERROR.name: errors.abs()}
