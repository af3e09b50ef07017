"""The encoder of PointGMM: a point cloud becomes features, whatever the order and number of its points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.errors import InputError
from gmcn.nn.norm import BatchNorm

SMALL = 1e-8  # below which a direction is none


class PointEncoder(nn.Module):
    """PointNet without transforms (Qi et al., CVPR 2017): layers that all points share, then the maximum over points.

    Maps points [B, M, D] to features [B, W] with W the last of ``widths``. Each layer has batch normalisation, all but
    the last a ReLU, as in the code of PointGMM. With ``neighbours`` K a point is seen by :func:`neighbourhoods` of K
    others instead of its coordinates, and features do not depend on rotations about the origin; D is then 3.

    Raises:
        InputError: points of another shape, or not more of them than neighbours.
    """

    def __init__(self, dim: int = 3, widths: Sequence[int] = (64, 128, 1024), neighbours: int = 0) -> None:
        super().__init__()
        self.dim, self.neighbours = dim, neighbours
        given = 3 * neighbours + 1 if neighbours else dim
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((given, *widths[:-1])):
            layers += [nn.Linear(before, after, bias=False), BatchNorm(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear((given, *widths)[-2], widths[-1], bias=False))
        self.maxima = NormedMaxima(widths[-1])

    def forward(
        self,
        points: Tensor,  # [B, M, D]
    ) -> Tensor:  # [B, W]
        if points.ndim != 3 or points.shape[-1] != self.dim or points.shape[1] <= self.neighbours:
            more = f" with M above {self.neighbours}" if self.neighbours else ""
            raise InputError(f"the encoder takes points [B, M, {self.dim}]{more}, and these are {list(points.shape)}")
        seen = neighbourhoods(points, self.neighbours) if self.neighbours else points
        return self.maxima(self.layers(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]))


class NormedMaxima(BatchNorm):
    """Batch normalisation of rows [B, M, C], then the maximum [B, C] over each set of M.

    Only the row that will be the maximum is normalised: the largest of a set, or the smallest where the channel's
    factor is negative (:func:`gmcn.ops.set_statistics`). Of several ranks, and outside training, all rows are.
    """

    def forward(
        self,
        rows: Tensor,  # [B, M, C]
    ) -> Tensor:  # [B, C]
        if self.across_ranks or not self.training:
            return super().forward(rows.flatten(0, 1)).unflatten(0, rows.shape[:2]).amax(1)
        largest, smallest, mean, variance = ops.set_statistics(rows)
        count = len(rows) * rows.shape[1]
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        extremes = torch.where(self.weight >= 0, largest, smallest)
        return (extremes - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def neighbourhoods(
    points: Tensor,  # [B, M, 3]
    neighbours: int,
) -> Tensor:  # [B, M, 3 K + 1]
    """What rotations about the origin leave of each point and its K nearest others (ClusterNet, Chen et al. 2019).

    The point's distance from the origin; then of each neighbour, the nearest first: its own distance, the cosine of
    the angle between both, and of that between its direction and the next one's in the plane across the point. Memory
    B M² for distances.
    """
    with torch.no_grad():
        nearest = torch.cdist(points, points).topk(neighbours + 1, largest=False).indices[..., 1:]  # [B, M, K]
    rows = torch.arange(len(points), device=points.device)[:, None, None]
    others = points[rows, nearest]  # [B, M, K, 3]
    length = points.norm(dim=-1, keepdim=True)  # [B, M, 1]
    axis = (points / length.clamp(min=SMALL))[..., None, :]
    lengths = others.norm(dim=-1)
    along = (others * axis).sum(-1)
    across = nn.functional.normalize(others - along[..., None] * axis, dim=-1, eps=SMALL)
    turns = (across * across.roll(-1, -2)).sum(-1)
    return torch.cat([length, lengths, along / lengths.clamp(min=SMALL), turns], -1)
