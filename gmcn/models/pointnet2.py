"""PointNet++ (Qi, Yi, Su and Guibas, NeurIPS 2017), single-scale grouping, written from the paper.

    points [B, N, D] -> set abstraction (512 centroids, 0.2 of the shape; layers 64, 64, 128)
      -> set abstraction (128 centroids, 0.4; 128, 128, 256) -> all that is left (256, 512, 1024)
      -> layers 512, 256 -> logits [B, classes]

A set abstraction chooses centroids by farthest-point sampling, gathers the points in a ball around each, and takes the
maximum of shared layers over them. About 1.47 M parameters. The input are mixtures, as of
:class:`~gmcn.models.PointNet`.

The published sizes are for 1,024 points. Of fewer points, N, a level takes as many centroids as there are points: a
half and an eighth of them, the published proportions, validate clearly worse on 32 Gaussians of ModelNet10. Its balls
grow by (1024 / N)^(1/4), half way between balls of one size, which become empty, and balls of one number of points,
which become the whole shape (on a surface that number goes with the radius squared).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from gmcn.data.objects import Inputs
from gmcn.declared import above, at_least
from gmcn.models.network import Classes, Dim, InitialSeed, Network, Probability, seeded
from gmcn.models.point_sets import Features, PointSet, feature_count, layers, maxima, pack, point_set

POINTS = 1024  # that the published sizes are for
WIDTHS = ((64, 64, 128), (128, 128, 256), (256, 512, 1024))
Count = Annotated[int, at_least(1), "Of one level."]
Radius = Annotated[float, above(0), "Of one level."]


class PointNet2(Network):
    """PointNet++ (Qi et al., NeurIPS 2017), single-scale grouping; two numbers are those of its two levels.

    It classifies point sets of any size. The input is normalised and components of weight zero are left out, see
    :func:`~gmcn.models.point_sets.point_set`.

    The radii are the paper's 0.2 and 0.4 in the unit sphere, whose radius is about three standard deviations.

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
        centroids: Annotated[tuple[Count, Count], "At most so many centroids."] = (512, 128),
        radii: Annotated[
            tuple[Radius, Radius],
            "Radii of the balls for 1,024 points, in standard deviations of the shape; for fewer points they grow.",
        ] = (0.6, 1.2),
        neighbours: Annotated[tuple[Count, Count], "At most so many points of a ball, the nearest."] = (32, 64),
        dropout: Annotated[
            Probability, "Probability to drop a value of each hidden layer before the class scores."
        ] = 0.5,
        seed: InitialSeed = None,
    ) -> None:
        super().__init__()
        self.dim, self.classes, self.features = dim, classes, features
        channels = [feature_count(features, dim), *(widths[-1] for widths in WIDTHS)]
        with seeded(seed, self):
            self.levels = nn.ModuleList(
                SetAbstraction(dim + channels[index], WIDTHS[index], *sizes)
                for index, sizes in enumerate(zip(centroids, radii, neighbours, strict=True))
            )
            self.rest = layers(dim + channels[2], *WIDTHS[2])
            self.head = nn.Sequential(layers(1024, 512, 256, dropout=(dropout, dropout)), nn.Linear(256, classes))

    def forward(
        self,
        inputs: Inputs,  # mixtures [B, N] or [B, 1, N], or points [B, N, D]
    ) -> Tensor:  # [B, classes]
        """Logits; the softmax belongs to the loss."""
        points = point_set(inputs, self.dim, self.features, "PointNet2", self.dtype)
        count = points.exists.sum(-1)
        for level in self.levels:
            points = level(points, count)
        rows = pack(torch.cat([points.positions, points.features], -1), points.exists)
        return self.head(maxima(self.rest(rows), points.exists))


class SetAbstraction(nn.Module):
    """One level: fewer points, each with features of its neighbourhood (section 3.2 of the paper)."""

    def __init__(self, channels: int, widths: Sequence[int], centroids: int, radius: float, neighbours: int) -> None:
        super().__init__()
        self.centroids, self.radius, self.neighbours = centroids, radius, neighbours
        self.point_layers = layers(channels, *widths)

    def forward(
        self,
        points: PointSet,  # [B, N]
        count: Tensor,  # [B], the points that exist in each shape of the network's input
    ) -> PointSet:  # [B, S]
        positions, features, exists = points
        size = min(self.centroids, exists.shape[1])
        chosen = farthest_points(positions, exists, size)  # [B, S]
        shape = torch.arange(len(positions), device=positions.device)[:, None]
        centres = positions[shape, chosen]  # [B, S, D]
        real = torch.arange(size, device=positions.device) < exists.sum(-1, keepdim=True)  # [B, S]
        radius = self.radius * (POINTS / count.clamp(1, POINTS)) ** 0.25  # [B]
        index, near = ball(positions, exists, centres, radius, self.neighbours)  # [B, S, K]
        near = near & real[..., None]
        shape, centre, _ = near.nonzero(as_tuple=True)
        point = index[near]
        offsets = positions[shape, point] - centres[shape, centre]
        rows = torch.cat([offsets, features[shape, point]], -1)  # [E, D + C]
        return PointSet(centres, maxima(self.point_layers(rows), near), real)

    def extra_repr(self) -> str:
        return f"centroids={self.centroids}, radius={self.radius}, neighbours={self.neighbours}"


@torch.no_grad()
def farthest_points(
    positions: Tensor,  # [B, N, D]
    exists: Tensor,  # [B, N]
    n: int,
) -> Tensor:  # [B, n]
    """Indices of points, each the farthest from those before it; the first is the farthest from the centre.

    A function of the set: the order of the points decides between equal distances only. Of a shape with fewer points
    than ``n`` the indices after these repeat.
    """
    shape = torch.arange(len(positions), device=positions.device)
    distances = torch.where(exists, positions.square().sum(-1), -1.0)
    chosen = [distances.argmax(1)]
    distances = torch.where(exists, torch.inf, -1.0).to(positions.dtype)
    for _ in range(n - 1):
        offsets = positions - positions[shape, chosen[-1]][:, None]
        distances = torch.minimum(distances, offsets.square().sum(-1))
        chosen.append(distances.argmax(1))
    return torch.stack(chosen, 1)


@torch.no_grad()
def ball(
    positions: Tensor,  # [B, N, D]
    exists: Tensor,  # [B, N]
    centres: Tensor,  # [B, S, D]
    radius: Tensor,  # [B]
    most: int,
) -> tuple[Tensor, Tensor]:  # [B, S, K], [B, S, K]
    """The nearest K <= ``most`` points of each centre, and which of them exist and are within the radius."""
    exact = "donot_use_mm_for_euclid_dist"  # the other way loses digits, and with them the centre itself
    distances = torch.cdist(centres, positions, compute_mode=exact)  # [B, S, N]
    distances = distances.masked_fill(~exists[:, None], torch.inf)
    nearest = distances.topk(min(most, positions.shape[1]), largest=False)
    return nearest.indices, nearest.values <= radius[:, None, None]
