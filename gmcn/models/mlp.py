"""A perceptron on images or vectors: the rival of networks whose layers are mixtures.

objects [B, ...] -> values in a row, the largest magnitude one -> hidden layers with ReLU -> logits [B, classes]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gmcn.errors import InputError
from gmcn.models.network import Network
from gmcn.models.point_sets import check_classifier, seeded


class MLP(Network):
    """Classifies images or vectors of one shape; with one hidden layer it is the two-layer perceptron.

    Each object is divided by its largest magnitude, so that logits do not depend on an image's brightness.

    Args:
        classes: number of classes.
        shape: of one object: [H, W] of an image, [d] of a vector.
        hidden: sizes of the hidden layers.
        dropout: probability to drop a value of a hidden layer.
        seed: of the initial parameters; None draws them from torch's global generator.

    Raises:
        InputError: for a value that cannot be, or an input of another shape.
    """

    takes = ("images", "vectors")

    def __init__(
        self,
        classes: int,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
        seed: int | None = None,
    ) -> None:
        # Everything that builds the same network again, in types that JSON has.
        self.config: dict[str, Any] = {
            key: value for key, value in locals().items() if key not in ("self", "__class__")
        }
        self.config |= {"shape": list(shape), "hidden": list(hidden)}
        super().__init__()
        check_classifier("MLP", classes, dropout)
        if not shape or min([*shape, *hidden]) < 1:
            raise InputError(f"MLP: shape is {list(shape)} and hidden {list(hidden)}; all sizes must be positive")
        self.classes, self.shape = classes, tuple(shape)
        with seeded(seed, self):
            modules: list[nn.Module] = []
            for given, wanted in itertools.pairwise([math.prod(shape), *hidden]):
                modules += [nn.Linear(given, wanted), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            width = hidden[-1] if hidden else math.prod(shape)
            self.layers = nn.Sequential(*modules, nn.Linear(width, classes))

    def forward(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        if inputs.shape[1:] != self.shape:
            raise InputError(f"MLP: the input is {list(inputs.shape)}; this network takes [B, *{list(self.shape)}]")
        values = inputs.flatten(1).to(self.layers[-1].weight.dtype)
        largest = values.abs().amax(1, keepdim=True)
        return self.layers(values / largest.clamp(min=1e-30))
