"""The error of a network's elongations on a test split, beside that of the trivial rival.

The metrics are read without torch, by tables and the configuration: what measures imports it where it is used.
"""

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
ERROR = Metric("error", "mean absolute error", digits=3)
RIVAL = Metric("rival", "error of the mean", digits=3)


class Measures:
    """How far a network's elongations are from the true ones."""

    metrics = (ERROR, RIVAL)
    headline = ERROR
    details = ()

    def measure(
        self,
        network: Network,
        data: ObjectSet,
        device: torch.device | str = "cpu",
        progress: Callable[[int], object] = lambda _: None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The metrics, and what was said of each object beside the truth."""
        import torch

        from gmcn.data.objects import batches_in_order
        from gmcn.tasks.elongation.objective import elongation

        outputs = []
        with torch.no_grad():
            for inputs, _ in batches_in_order(data.inputs, None, BATCH):
                outputs.append(network(inputs.to(device)).squeeze(1).double().cpu())
                progress(len(inputs))
        said, true = torch.cat(outputs), elongation(data.inputs).double()
        if not said.isfinite().all():
            raise InputError("the network's output is not finite; train it again with a lower training.learning_rate")
        return {
            "error": (said - true).abs().mean().item(),
            "rival": (true.mean() - true).abs().mean().item(),
            "said": said.tolist(),
            "true": true.tolist(),
        }

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: ObjectSet, folder: Path) -> list[Path]:
        """What was said over what is true, a colour for each seed."""
        from matplotlib.figure import Figure

        from gmcn.artifacts import atomic

        figure = Figure(figsize=(4, 4), layout="constrained")
        axes = figure.subplots()
        for seed in seeds:
            axes.plot(seed["true"], seed["said"], ".")
        axes.axline((1, 1), slope=1, color="black", linewidth=0.5)
        axes.set_xlabel("true elongation")
        axes.set_ylabel("the network's")
        path = folder / "elongation.png"
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png")
        return [path]

    def check(self, network: Network, metadata: Mapping[str, Any], path: Path) -> None:
        """The network has to have one output."""
        if network.config["classes"] != 1:
            raise InputError(f"{path} has {network.config['classes']} outputs instead of one; train it again")

    def answer(
        self, network: Network, inputs: Inputs, metadata: Mapping[str, Any]
    ) -> list[dict[str, Any] | None]:  # of B objects
        """The elongation as the network sees it."""
        outputs = network(inputs).squeeze(1).double()
        return [{"elongation": output.item()} if output.isfinite() else None for output in outputs]
