"""The squared error of an object's elongation, its largest extent over its smallest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gmcn.data.objects import MIXTURES, POINTS, Inputs, ObjectSet
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.models import Network
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import Objective as Base

ERROR = Metric("squared_error", "squared error")


def elongation(inputs: Inputs) -> Tensor:  # of B mixtures or clouds -> [B]
    """The largest extent along an axis over the smallest, at most 100."""
    positions = inputs.positions if isinstance(inputs, Mixture) else inputs  # [B, M, D]
    extents = positions.amax(1) - positions.amin(1)  # [B, D]
    largest = extents.amax(1)
    return largest / extents.amin(1).clamp(min=largest / 100)


class Objective(Base):
    """The mean squared error of the network's one output; what an object is labelled as does not matter."""

    metrics = (ERROR,)
    watched = ERROR
    needs_labels = False

    def traits(self, data: ObjectSet) -> dict[str, Any]:
        """One output instead of one per class."""
        return {**data.traits, "classes": 1}

    def check(self, data: ObjectSet) -> None:
        super().check(data)
        if data.kind not in (MIXTURES, POINTS):
            raise InputError(f"only mixtures and points have an elongation, and these are {data.kind}")

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], [B] each
        outputs, penalty = network.outputs_and_penalty(inputs)
        return (outputs[:, 0] - elongation(inputs)).square().mean() + penalty, {}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B] each
        return {ERROR.name: (network(inputs)[:, 0] - elongation(inputs)).square()}
