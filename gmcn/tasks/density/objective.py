"""The mean negative log-likelihood of objects under a network whose answer is the log-density of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import Inputs, batches_in_order, count, each
from gmcn.errors import InputError
from gmcn.models import Network
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import Objective as Base

BATCH = 500  # bounds memory
LOSS = Metric("loss", "negative log-likelihood", "nats", 2)


class Objective(Base):
    """Needs no labels; with ``training.classes``, objects of other classes are not trained on."""

    metrics = (LOSS,)
    watched = LOSS
    needs_labels = False
    of_some_classes = True

    def loss(
        self, network: Network, inputs: Inputs, labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:  # [], none
        """The mean over the batch in nats per object, with the network's penalty."""
        outputs, penalty = network.outputs_and_penalty(inputs)
        return -log_densities(outputs, inputs).mean() + penalty, {}

    def measure(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Tensor]:  # [B]
        """The negative log-likelihood of each object."""
        return {LOSS.name: -log_densities(network(inputs), inputs)}

    def facts(self, network: Network, inputs: Inputs) -> dict[str, Any]:
        """The percentiles of the training objects' log-likelihoods, by which that of another object can be judged."""
        network.eval()
        device = next(network.parameters()).device
        batches = (each(part, lambda tensor: tensor.to(device)) for part, _ in batches_in_order(inputs, None, BATCH))
        with torch.no_grad():
            values = torch.cat([network(batch) for batch in batches]).double()
        return {"quantiles": values.quantile(torch.linspace(0, 1, 101).to(values)).tolist()}


def log_densities(outputs: Tensor, inputs: Inputs) -> Tensor:  # [B] of B objects
    """The outputs; :class:`InputError` where they are not one number for each object."""
    if outputs.shape != (count(inputs),):
        raise InputError(
            f"the network answers {list(outputs.shape)} about {count(inputs)} objects, and the task density needs the "
            "log-density of each; take a network such as `kind: gmm`"
        )
    return outputs
