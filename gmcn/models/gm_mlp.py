"""A perceptron whose layers are Gaussian mixtures (after Chewi, Rigollet and Yan, 2025; the equations are ours).

objects [B, ...] -> values in a row, standardised -> Gaussian mixture layers, with ReLU between -> logits [B, classes]

Alone, one such layer takes the place of a two-layer perceptron.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from torch import nn

from gmcn.declared import at_least
from gmcn.models.mlp import OnValues, Scaling, Shape, Size
from gmcn.models.network import Classes, InitialSeed, Probability, seeded
from gmcn.nn import GaussianMixtureLayer

Activation = Annotated[Literal["relu", "erf", "gelu", "linear", "tanh", "silu"], "Of the neurons."]
Components = Annotated[int, at_least(1), "Gaussians of a layer (K)."]


class GMMLP(OnValues):
    """A perceptron of Gaussian mixture layers on images or vectors of one shape, with `fit: null`.

    Raises:
        InputError: for a value that cannot be, or an input of another shape.
    """

    def __init__(
        self,
        classes: Classes,
        shape: Shape,
        *,
        components: Components = 50,
        covariance: Annotated[
            Literal["low-rank", "diagonal", "full"], "Family of the Gaussians' covariances."
        ] = "low-rank",
        rank: Annotated[int, at_least(1), "Factors of `low-rank`."] = 4,
        activation: Activation = "relu",
        hidden: Annotated[Sequence[Size], "Widths between layers; none is one layer from the input to classes."] = (),
        mixtures: Annotated[
            Literal["all", "first", "last"], "Which layers are mixtures; the others are linear."
        ] = "all",
        deviation: Annotated[
            float, at_least(0), "Of the neurons' weights at first, over the root of their number."
        ] = 0.5,
        factor_out: Annotated[float, at_least(0), "Of the factors' output weights at first."] = 0.5,
        dropout: Annotated[Probability, "Probability to drop a component in a step."] = 0.0,
        train_weights: Annotated[bool, "Whether the components' weights are trained."] = False,
        input: Scaling = "standardised",
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.classes, self.shape, self.input = classes, tuple(shape), input
        widths = list(itertools.pairwise([math.prod(shape), *hidden, classes]))
        mixed = {"all": range(len(widths)), "first": [0], "last": [len(widths) - 1]}[mixtures]
        with seeded(seed, self):
            modules: list[nn.Module] = []
            for place, (given, wanted) in enumerate(widths):
                if place in mixed:
                    layer: nn.Module = GaussianMixtureLayer(
                        given,
                        wanted,
                        components,
                        covariance,
                        rank,
                        activation,
                        deviation=deviation,
                        factor_out=factor_out,
                        dropout=dropout,
                        train_weights=train_weights,
                    )
                else:
                    layer = nn.Linear(given, wanted)
                modules += [layer, nn.ReLU()]
            self.layers = nn.Sequential(*modules[:-1])
