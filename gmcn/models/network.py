"""What training, evaluation and tracking ask of every network."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """A network that settings describe; :func:`gmcn.models.build` makes it.

    ``takes`` are the kinds of objects that it may be given, ``config`` holds the arguments that make the same network
    again, in types that JSON has.
    """

    takes: ClassVar[tuple[str, ...]] = ("mixtures",)
    config: dict[str, Any]

    def outputs_and_penalty(self, inputs: Any) -> tuple[Any, Tensor | float]:
        """What the network says of its inputs, and what it adds to the loss in training, []."""
        return self(inputs), 0.0

    def after_step_(self, rate: float, kernel_decay: float) -> None:
        """Called after each step of the optimiser with its learning rate and the settings' ``kernel_decay``."""

    def parameter_counts(self) -> dict[str, int]:
        """``parameters``, how many numbers are trained, and whatever part of them has a name of its own."""
        return {"parameters": sum(parameter.numel() for parameter in self.parameters())}
