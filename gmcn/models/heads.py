"""What classifies at the end of a network: layers on its features, and how large a shape is."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gmcn.mixture import Mixture, centre_and_variances
from gmcn.nn import BatchNorm, GaussianMixtureLayer

Head = Annotated[
    Literal["fc", "mixture"],
    "What classifies the features: fully connected layers, or a Gaussian mixture layer of 20 Gaussians of rank 4 in "
    "their place (ours; docs/gm_layers.md).",
]
COMPONENTS, RANK = 20, 4


def mixture_head(features: int, classes: int) -> GaussianMixtureLayer:
    """Features [B, F] to logits [B, classes]."""
    return GaussianMixtureLayer(features, classes, COMPONENTS, "low-rank", RANK)


def head(kind: str, features: int, classes: int) -> nn.Module:
    """Features [B, F] to logits [B, classes]; the perceptron has 64 hidden values."""
    if kind == "mixture":
        return mixture_head(features, classes)
    return nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


class Extent(nn.Module):
    """Classifies a shape by how large it is: a perceptron on the logarithms of its deviations along the data's axes.

    The logarithms of the standard deviations, in the data's units, are batch-normalised first. Of clouds in the unit
    sphere they say how long a shape is beside how wide, in the units of a mesh also how large it is.
    """

    def __init__(self, dim: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(dim)
        self.perceptron = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(
        self,
        mixture: Mixture,  # [B, N] or [B, F, N], all channels as one shape
    ) -> Tensor:  # [B, classes]
        """Logits. The weights' scale does not change them, and neither does a shift."""
        if mixture.weights.dim() == 3:
            mixture = mixture.map(lambda tensor: tensor.flatten(1, 2))
        _, variances = centre_and_variances(mixture)
        return self.perceptron(self.norm(variances.clamp(min=torch.finfo(variances.dtype).tiny).log() / 2))
