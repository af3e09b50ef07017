"""The encoder of PointGMM: a point cloud becomes features, whatever the order and number of its points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gmcn import ops
from gmcn.errors import InputError
from gmcn.nn.norm import BatchNorm
from gmcn.precision import full_precision

SMALL = 1e-8  # below which a direction is none
CACHE = 1 << 20  # products that are made at once on the CPU, where they stay in the cache
ROOM = 1 << 26  # and on other devices


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
        for before, after in itertools.pairwise((given, *widths)):
            layers += [nn.Linear(before, after, bias=False), BatchNorm(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])
        self.maxima = NormedMaxima(widths[-1])

    def forward(
        self,
        points: Tensor,  # [B, M, D]
    ) -> Tensor:  # [B, W]
        if points.ndim != 3 or points.shape[-1] != self.dim or points.shape[1] <= self.neighbours:
            more = f" with M above {self.neighbours}" if self.neighbours else ""
            raise InputError(f"the encoder takes points [B, M, {self.dim}]{more}, and these are {list(points.shape)}")
        seen = neighbourhoods(points, self.neighbours) if self.neighbours else points
        *layers, last = self.layers
        rows = seen.flatten(0, 1)
        for layer in layers:
            rows = layer(rows)
        return self.maxima(rows.unflatten(0, seen.shape[:2]), last.weight)


class NormedMaxima(BatchNorm):
    """Rows [B, M, K] times a matrix, batch normalisation, then the maximum [B, C] over each set of M.

    In training the product of all rows only says which is largest, or smallest where the channel's factor is negative.
    Those are multiplied again, with a gradient, and mean and variance of all follow from the rows' own: the gradient
    takes O(B M K² + B K C) operations instead of O(B M K C), and no memory for products. Of several ranks, and outside
    training, all are normalised; outside training those of some sets at a time.
    """

    def forward(  # type: ignore[override]  # it has the product within
        self,
        rows: Tensor,  # [B, M, K]
        matrix: Tensor,  # [C, K]
    ) -> Tensor:  # [B, C]
        if self.across_ranks or not self.training:
            parts = [rows] if self.training else rows.split(_at_once(rows, matrix))
            normed = super().forward
            return torch.cat(
                [normed(some.flatten(0, 1) @ matrix.mT).unflatten(0, some.shape[:2]).amax(1) for some in parts]
            )
        count = len(rows) * rows.shape[1]
        if count < 2:
            raise ValueError(f"a batch of {count} row has no variance to train with; take two or more")
        extremes, mean, variance = _extremes(rows, matrix, self.weight)
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        return (extremes - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def _at_once(
    rows: Tensor,  # [B, M, K]
    matrix: Tensor,  # [C, K]
) -> int:
    """Of so many sets, one at least, the products are made at a time."""
    return max(1, (CACHE if rows.device.type == "cpu" else ROOM) // (rows.shape[1] * len(matrix)))


@full_precision
def _extremes(
    rows: Tensor,  # [B, M, K]
    matrix: Tensor,  # [C, K]
    signs: Tensor,  # [C]
) -> tuple[Tensor, Tensor, Tensor]:  # [B, C], [C], [C]
    """Of the products of rows and matrix: the largest of each set, or smallest by sign; mean and variance of all."""
    rows = rows.to(matrix.dtype)
    with torch.no_grad():
        towards = torch.where(signs >= 0, 1, -1) * matrix.mT  # [K, C]
        parts = rows.split(_at_once(rows, matrix))
        at = torch.cat([ops.largest_rows(some @ towards) for some in parts])  # [B, C]
    flat = rows.flatten(0, 1)
    firsts = torch.arange(0, len(flat), rows.shape[1], device=rows.device)[:, None]  # [B, 1]
    largest = flat.index_select(0, (firsts + at).flatten()).unflatten(0, at.shape)  # [B, C, K]
    mean = flat.mean(0)
    centred = flat - mean
    covariance = _Gram.apply(centred) / len(flat)
    return (largest * matrix).sum(-1), matrix @ mean, (matrix @ covariance * matrix).sum(-1)


class _Gram(torch.autograd.Function):
    """``xᵀ x``, whose gradient torch's own product takes twice, once by each factor."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # [R, K] -> [K, K]
        return x.mT @ x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return ctx.saved_tensors[0] @ (gradient + gradient.mT)


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
        centred = points - points.mean(1, keepdim=True)  # cdist rounds by the distance from the origin
        nearest = torch.cdist(centred, centred).topk(neighbours + 1, largest=False).indices[..., 1:]  # [B, M, K]
    rows = torch.arange(len(points), device=points.device)[:, None, None]
    others = points[rows, nearest]  # [B, M, K, 3]
    length = points.norm(dim=-1, keepdim=True)  # [B, M, 1]
    axis = (points / length.clamp(min=SMALL))[..., None, :]
    lengths = others.norm(dim=-1)
    along = (others * axis).sum(-1)
    across = nn.functional.normalize(others - along[..., None] * axis, dim=-1, eps=SMALL)
    turns = (across * across.roll(-1, -2)).sum(-1)
    return torch.cat([length, lengths, along / lengths.clamp(min=SMALL), turns], -1)
