"""What every task has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gmcn.models import Network


@dataclass(frozen=True)
class Metric:
    """A number that is measured, and how it is written."""

    name: str
    title: str
    unit: str = ""
    digits: int = 4
    larger_is_better: bool = False


class Settings(Protocol):
    """Of a training's settings, what objectives read."""

    label_smoothing: float


class Objective(Protocol):
    """What training minimises."""

    metrics: tuple[Metric, ...]  # of an epoch, the loss first: the history's columns, for training and validation
    watched: Metric  # what the schedule "plateau" looks at
    counted: tuple[str, ...]  # what is added up over an epoch besides the loss

    def loss(self, network: Network, inputs: Any, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss [] in training, with the network's penalty; and sums over the batch, [] each."""
        ...

    def measure(self, network: Network, inputs: Any, labels: Tensor) -> dict[str, Tensor]:
        """Sums over a batch that is not trained on, [] each: "loss", and those of ``counted``."""
        ...

    def means(self, sums: Mapping[str, float], count: float) -> dict[str, float]:
        """The ``metrics`` by name, from the sums over ``count`` objects."""
        ...


class Measures(Protocol):
    """What is measured of a trained network, and drawn."""

    metrics: tuple[Metric, ...]
    headline: Metric  # by which results are compared
    averaged: tuple[str, ...]  # what of the measured is averaged over seeds, the metrics among them

    def measure(
        self, network: Network, data: Any, device: torch.device | str, progress: Callable[[int], object]
    ) -> dict[str, Any]:
        """The metrics by name, and details, in types that JSON has; ``progress`` is told how many objects are done."""
        ...

    def pictures(self, seeds: Sequence[Mapping[str, Any]], data: Any, folder: Path) -> list[Path]:
        """Draws what was measured of all seeds into a folder."""
        ...
