"""PointNet (Qi, Su, Mo and Guibas, CVPR 2017), the classification network of its figure 2, written from the paper.

    points [B, N, D] -> input transform (D x D) -> shared layers 64, 64 -> feature transform (64 x 64)
      -> shared layers 64, 128, 1024 -> maximum over the points -> layers 512, 256 -> logits [B, classes]

About 3.46 M parameters. The input are mixtures, of which it sees positions, or Gaussians with weight and covariance as
features (the two halves of table 1 of the GMCN paper).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from gmcn.data.objects import Inputs
from gmcn.declared import at_least
from gmcn.models.heads import Head, mixture_head
from gmcn.models.network import Classes, Dim, InitialSeed, Network, Probability, seeded
from gmcn.models.point_sets import Features, feature_count, layers, maxima, pack, point_set, spread


class PointNet(Network):
    """PointNet (Qi et al., CVPR 2017), with input and feature transforms.

    It classifies point sets of any size. The input is normalised and components of weight zero are left out, see
    :func:`~gmcn.models.point_sets.point_set`.

    Raises:
        InputError: for a value that cannot be, or an input of the wrong dimension.
    """

    takes = ("mixtures", "points")

    def __init__(
        self,
        classes: Classes,
        dim: Dim = 3,
        *,
        features: Features = "positions",
        dropout: Annotated[
            Probability, "Probability to drop a value of the last hidden layer before the class scores."
        ] = 0.3,
        head: Head = "fc",
        regularization: Annotated[
            float,
            at_least(0),
            "Factor in the loss of the feature transform's distance from an orthogonal matrix, equation (2).",
        ] = 1e-3,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.dim, self.classes, self.features, self.regularization = dim, classes, features, regularization
        channels = dim + feature_count(features, dim)
        with seeded(seed, self):
            self.input_transform = Transform(channels, dim)
            self.point_layers = layers(channels, 64, 64)
            self.feature_transform = Transform(64, 64)
            self.deep_layers = layers(64, 64, 128, 1024)
            if head == "mixture":
                self.head: nn.Module = mixture_head(1024, classes)
            else:
                self.head = nn.Sequential(layers(1024, 512, 256, dropout=(0.0, dropout)), nn.Linear(256, classes))

    def forward(
        self,
        inputs: Inputs,  # mixtures [B, N] or [B, 1, N], or points [B, N, D]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        return self.outputs_and_penalty(inputs)[0]

    def outputs_and_penalty(
        self,
        inputs: Inputs,  # mixtures [B, N] or [B, 1, N], or points [B, N, D]
    ) -> tuple[Tensor, Tensor]:  # [B, classes], []
        """Logits, and what training adds to the loss: the mean of ||I - A Aᵀ||² times ``regularization``."""
        positions, features, exists = point_set(inputs, self.dim, self.features, "PointNet", self.dtype)
        turn = self.input_transform(pack(torch.cat([positions, features], -1), exists), exists)
        x = self.point_layers(pack(torch.cat([positions @ turn, features], -1), exists))  # [E, 64]
        turn = self.feature_transform(x, exists)  # [B, 64, 64]
        x = pack(spread(x, exists) @ turn, exists, len(x))
        logits = self.head(maxima(self.deep_layers(x), exists))
        difference = torch.eye(64, dtype=turn.dtype, device=turn.device) - turn @ turn.mT
        return logits, self.regularization * difference.square().sum((1, 2)).mean()


class Transform(nn.Module):
    """A small PointNet that gives each shape a matrix, at first the identity ("T-net", the paper's appendix C).

    Rows [E, C] of the points that exist, and where they do [B, N], to matrices [B, K, K].
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.point_layers = layers(channels, 64, 128, 1024)
        self.shape_layers = layers(1024, 512, 256)
        self.matrix = nn.Linear(256, size * size)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(size).flatten())

    def forward(
        self,
        rows: Tensor,  # [E, C]
        exists: Tensor,  # [B, N]
    ) -> Tensor:  # [B, K, K]
        shape = self.shape_layers(maxima(self.point_layers(rows), exists))
        return self.matrix(shape).view(len(shape), self.size, self.size)
