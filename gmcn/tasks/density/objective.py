"""The mean negative log-likelihood of objects under a network whose answer is the log-density of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        """By which another object can be judged: how typical the training objects are, and each position of a layer.

        ``quantiles`` are the percentiles of their typicality. Of a network with a layer of mixtures at more than
        one position, ``layers`` has the mean and standard deviation [H][W] of each layer's (Density.layers).
        ``classes`` and ``shares`` are those of :func:`read_out`.
        """
        network.eval()
        device = next(network.parameters()).device

        def batches() -> Iterator[Any]:
            return (each(part, lambda tensor: tensor.to(device)) for part, _ in batches_in_order(inputs, None, BATCH))

        with torch.no_grad():
            judge: Callable[[Any], Tensor] = network.typicality if isinstance(network, Density) else network
            values = torch.cat([judge(batch) for batch in batches()]).double()
            layers = _positions(network, batches())
        quantiles = values.quantile(torch.linspace(0, 1, 101).to(values)).tolist()
        own = {"layers": layers} if layers else {}
        return {"quantiles": quantiles, **own, **read_out(network, inputs, labels)}


def _positions(network: Network, batches: Iterator[Tensor]) -> list[dict[str, Any]]:
    """Mean and deviation of the log-likelihood at each position of each layer; empty where no layer has two."""
    sums: list[Tensor] = []  # [3, H, W]: how many, and the first two powers
    if not isinstance(network, Density):
        return []
    for batch in batches:
        maps = [layer["log_likelihood"].double() for layer in network.layers(batch)]
        if all(one.shape[1:].numel() == 1 for one in maps):
            return []
        powers = [torch.stack([one.new_ones(one.shape), one, one.square()]).sum(1) for one in maps]
        sums = [before + now for before, now in zip(sums, powers, strict=True)] if sums else powers
    moments = [(total / number, squares / number) for number, total, squares in sums]
    return [
        {"mean": mean.tolist(), "std": (square - mean.square()).clamp(min=0).sqrt().tolist()}
        for mean, square in moments
    ]


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
