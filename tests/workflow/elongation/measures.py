"""How far a network's elongations are from the true ones, and how far a constant is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.errors import InputError
from gmcn.tasks.metric import Metric

if TYPE_CHECKING:
    import torch

    from gmcn.data.objects import Inputs, ObjectSet
    from gmcn.models import Network

BATCH = 32  # bounds memory
ERROR = Metric("error", "mean absolute error")
# It has seen the test split, which the network has not: whoever does not beat it has learnt nothing.
RIVAL = Metric("rival_error", "that of the test split's mean")


class Measures:
    """The mean absolute error of elongations, beside that of a rival who says the test split's mean of all."""

    metrics = (ERROR, RIVAL)
    headline = ERROR
    averaged = (ERROR.name, RIVAL.name)

    def measure(
        self,
        network: Network,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
    ) -> dict[str, Any]:
        """The metrics; true and predicted elongations of all objects."""
        import torch

        from gmcn.data.objects import batches_in_order, count, each
        from gmcn.tasks.elongation.objective import elongation

        said = []
        with torch.no_grad():
            for inputs, _ in batches_in_order(data.inputs, None, BATCH):
                said.append(network(each(inputs, lambda tensor: tensor.to(device)))[:, 0].cpu())
                progress(count(inputs))
        predicted, true = torch.cat(said), elongation(data.inputs)
        return {
            ERROR.name: (predicted - true).abs().mean().item(),
            RIVAL.name: (true.mean() - true).abs().mean().item(),
            "predicted": predicted.tolist(),
            "true": true.tolist(),
        }

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """Predicted over true elongations, a colour for each seed."""
        from matplotlib.figure import Figure

        from gmcn.artifacts import atomic

        figure = Figure(layout="constrained")
        axes = figure.subplots()
        for seed in seeds:
            axes.scatter(seed["true"], seed["predicted"], s=8)
        axes.axline((1, 1), slope=1, color="grey")
        axes.set(xlabel="true elongation", ylabel="predicted")
        with atomic(folder / "elongation.png") as temporary:
            figure.savefig(temporary, format="png")
        return [folder / "elongation.png"]

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The network has one output."""
        if network.config["classes"] != 1:
            raise InputError(f"{path} says {network.config['classes']} numbers of an object, not its elongation")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The elongation."""
        said = network(inputs)[:, 0]
        return [
            {"elongation": value} if finite else None
            for finite, value in zip(said.isfinite().tolist(), said.tolist(), strict=True)
        ]
