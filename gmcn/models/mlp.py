"""A perceptron on images or vectors: the rival of networks whose layers are mixtures.

objects [B, ...] -> values in a row, the largest magnitude one -> hidden layers with ReLU -> logits [B, classes]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional

from gmcn.declared import DERIVED, FILLED, at_least
from gmcn.errors import InputError
from gmcn.models.network import Classes, InitialSeed, Network, Probability, seeded

Size = Annotated[int, at_least(1), "Of one layer."]
Shape = Annotated[Sequence[Size], FILLED, DERIVED, "Of one object: [H, W] of an image, [d] of a vector."]
Scaling = Annotated[
    Literal["standardised", "largest"],
    "Whether an object is shifted and scaled to mean zero and variance one, or divided by its largest magnitude.",
]


class OnValues(Network):
    """A network of ``layers`` on the values of images or vectors of one ``shape``, with `fit: null`.

    Logits do not depend on an image's brightness, whichever way it is scaled.
    """

    takes = ("images", "vectors")
    shape: tuple[int, ...]
    input: str
    layers: nn.Module

    def forward(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        if inputs.shape[1:] != self.shape:
            raise InputError(
                f"{type(self).__name__}: the input is {list(inputs.shape)}; this network takes [B, *{list(self.shape)}]"
            )
        return self.layers(scaled(inputs.flatten(1).to(self.dtype), self.input))


class MLP(OnValues):
    """A perceptron on images or vectors of one shape, with `fit: null`.

    Raises:
        InputError: for a value that cannot be, or an input of another shape.
    """

    def __init__(
        self,
        classes: Classes,
        shape: Shape,
        *,
        hidden: Annotated[Sequence[Size], "Sizes of the hidden layers; one is the two-layer perceptron."] = (256,),
        dropout: Annotated[Probability, "Probability to drop a value of a hidden layer."] = 0.0,
        input: Scaling = "largest",
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.classes, self.shape, self.input = classes, tuple(shape), input
        with seeded(seed, self):
            modules: list[nn.Module] = []
            for given, wanted in itertools.pairwise([math.prod(shape), *hidden]):
                modules += [nn.Linear(given, wanted), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            width = hidden[-1] if hidden else math.prod(shape)
            self.layers = nn.Sequential(*modules, nn.Linear(width, classes))


def scaled(
    values: Tensor,  # [B, d]
    scaling: str,
) -> Tensor:  # [B, d]
    """Each object by itself: of mean zero and variance one ("standardised"), or with the largest magnitude one."""
    values = values / values.abs().amax(1, keepdim=True).clamp(min=1e-30)
    return functional.layer_norm(values, values.shape[1:], eps=1e-12) if scaling == "standardised" else values
