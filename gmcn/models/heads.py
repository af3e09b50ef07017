"""What classifies features at the end of a network: fully connected layers, or one Gaussian mixture layer."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from gmcn.nn import GaussianMixtureLayer

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
