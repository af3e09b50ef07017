"""The mean negative log-likelihood of objects under a network whose answer is the log-density of each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import Inputs, batches_in_order, count, each
from gmcn.errors import InputError
from gmcn.models import Density, Network
from gmcn.tasks.metric import Metric
from gmcn.tasks.task import Objective as Base

BATCH = 500  # bounds memory
NOTHING = 1e-3  # of an object: what a component that has no objects is given
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

    def facts(self, network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Any]:
        """The percentiles of the training objects' log-likelihoods, by which that of another object can be judged."""
        network.eval()
        device = next(network.parameters()).device
        batches = (each(part, lambda tensor: tensor.to(device)) for part, _ in batches_in_order(inputs, None, BATCH))
        with torch.no_grad():
            values = torch.cat([network(batch) for batch in batches]).double()
        quantiles = values.quantile(torch.linspace(0, 1, 101).to(values)).tolist()
        return {"quantiles": quantiles, **read_out(network, inputs, labels)}


def log_densities(outputs: Tensor, inputs: Inputs) -> Tensor:  # [B] of B objects
    """The outputs; :class:`InputError` where they are not one number for each object."""
    if outputs.shape != (count(inputs),):
        raise InputError(
            f"the network answers {list(outputs.shape)} about {count(inputs)} objects, and the task density needs the "
            "log-density of each; take a network such as `kind: gmm`"
        )
    return outputs


@torch.no_grad()
def read_out(network: Network, inputs: Inputs, labels: Tensor | None) -> dict[str, Any]:  # of S objects, labels [S]
    """Which classes the objects of each component have: nothing without labels or of a network without components.

    By responsibilities for the objects, ``classes`` [N][C] are the shares of each class, up to the last that has an
    object, in each component, and ``shares`` [N] those of the components among all. A component that has no objects
    has the classes of all.
    """
    if labels is None or not isinstance(network, Density) or network.dead() is None:
        return {}
    device, sums = next(network.parameters()).device, []
    for part, own in batches_in_order(inputs, labels, BATCH):
        belonging = network.responsibilities(part.to(device)).double().cpu()
        sums.append(belonging.T @ torch.nn.functional.one_hot(own.cpu(), int(labels.max()) + 1).double())
    counts = torch.stack(sums).sum(0)  # [N, C]
    prior = counts.sum(0, keepdim=True) / len(labels)
    classes = (counts + NOTHING * prior) / (counts.sum(1, keepdim=True) + NOTHING)
    shares = counts.sum(1) / len(labels)
    return {"classes": classes.round(decimals=4).tolist(), "shares": shares.round(decimals=6).tolist()}
