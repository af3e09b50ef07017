"""The negative log-likelihood of a cloud's points under the mixture that a network makes of some of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.data.objects import Inputs, ObjectSet
from gmcn.data.views import parted, view
from gmcn.errors import InputError
from gmcn.models import Network, PointGMM
from gmcn.nn.tree_likelihood import exact
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import OfClouds

LOSS = Metric("loss", "negative log-likelihood of points that are not seen", "nats per point", 3)


class Objective(OfClouds):
    """Needs no labels. The network sees a part of each cloud (``training.views``) and is judged by all its points."""

    name = "generation"
    metrics = (LOSS,)
    watched = LOSS

    def check(self, data: ObjectSet) -> None:
        """Refuse clouds of so few points that none is left to judge by."""
        super().check(data)
        found = data.traits["shape"][0]
        if found <= self.views.points:
            raise InputError(
                f"the clouds have {found} points, of which the network sees {self.views.points} "
                "(training.views.points): none is left to judge by; take fewer, or sample more points"
            )

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Inputs:
        """Augmented clouds, the points that the network sees before all their points: [B, V + M, 3]."""
        whole = super().prepare(inputs, generator)
        assert isinstance(whole, Tensor)  # of this task
        return torch.cat([view(whole, self.views, generator), whole], 1)

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], none
        """The network's terms, means over the batch and all points of a cloud, with its penalty."""
        network, clouds = _own(network, inputs)
        tree, penalty = network.outputs_and_penalty(self.seen(clouds))
        return penalty - network.log_likelihoods(tree, clouds[:, self.views.points :]).mean((0, 1)).sum(), {}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B]
        """The mean over the points of a cloud that the network does not see (:func:`parted`), under the leaves."""
        network, clouds = _own(network, inputs)
        seen, others = parted(clouds, self.views.points)
        return {LOSS.name: -exact(network(seen).leaves(), others).mean(1)}


def _own(network: Network, inputs: Inputs) -> tuple[PointGMM, Tensor]:
    """Network and clouds as this task has them."""
    if not isinstance(network, PointGMM):
        raise InputError(f"{type(network).__name__} makes no mixtures of clouds; take the network `kind: pointgmm`")
    assert isinstance(inputs, Tensor)  # check has seen to it
    return network, inputs
