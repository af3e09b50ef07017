"""Shared by networks on point sets: mixtures as sets of points, and layers on the points that exist.

A component of weight zero does not exist: it is in no maximum, no neighbourhood and no batch statistics. Layers run on
rows [E, C], one for each point (or pair of points) of the batch that exists; a mask says where they belong.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gmcn.data.objects import Inputs
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.nn import BatchNorm

Features = Annotated[
    Literal["positions", "gaussians"],
    "What point networks see of a Gaussian: its position, or also weight and covariance.",
]


class PointSet(NamedTuple):
    """Points of a batch of shapes."""

    positions: Tensor  # [B, N, D]
    features: Tensor  # [B, N, C]
    exists: Tensor  # [B, N] bool


def feature_count(features: str, dim: int) -> int:
    """Number of features C per point, beside its position: those of "gaussians" are weight and covariance."""
    return 0 if features == "positions" else 1 + dim * (dim + 1) // 2


def point_set(
    inputs: Inputs,  # mixtures [B, N] or [B, 1, N], or points [B, N, D]
    dim: int,
    features: str,
    network: str,
    dtype: torch.dtype,
) -> PointSet:
    """Points, or a mixture's positions, normalised: centred, and of variance one, an average over the dimensions.

    Every component that exists counts the same, whatever its weight, as a point of a cloud does. "gaussians" adds
    to each point its weight, in units of the mean magnitude of the shape's weights (of N weights that sum to one:
    times N), and the upper triangle of its covariance in the scaled space. Like that of :class:`~gmcn.models.GMCN`,
    the normalisation makes logits independent of where a shape is, how large it is and what it weighs. Computed in the
    input's dtype and returned in ``dtype``, that of the network.

    Raises :class:`gmcn.errors.InputError` for an input of several channels or of another dimension; ``network`` is
    named in it.
    """
    if isinstance(inputs, Tensor):
        if features != "positions":
            raise InputError(f"{network}: points have no {features}, only mixtures; set `features: positions`")
        weights = inputs.new_ones(inputs.shape[:2])
        mixture = Mixture(weights, inputs, inputs.new_zeros(0))
    else:
        mixture = inputs
    if mixture.weights.dim() == 3 and mixture.weights.shape[1] == 1:
        mixture = mixture.map(lambda tensor: tensor.squeeze(1))
    if mixture.weights.dim() != 2 or mixture.positions.dim() != 3 or mixture.dim != dim:
        raise InputError(
            f"{network}: the input's positions are {list(mixture.positions.shape)}; this network takes [B, N, {dim}]"
        )
    if not mixture.weights.shape[1]:
        raise InputError(f"{network}: the input's positions are {list(mixture.positions.shape)}; there is no point")
    weights, positions, covariances = mixture
    exists = weights != 0
    share = exists.to(weights.dtype) / exists.sum(-1, keepdim=True).clamp(min=1)  # [B, N]
    centre = (share[..., None] * positions).sum(1, keepdim=True)  # [B, 1, D]
    positions = torch.where(exists[..., None], positions - centre, 0.0)
    variance = (share[..., None] * positions.square()).sum((1, 2)) / dim  # [B]
    variance = torch.where(variance > 0, variance, 1.0)[:, None, None]  # one point alone has none
    positions = positions * variance.rsqrt()
    if features == "positions":
        return PointSet(positions.to(dtype), positions[..., :0].to(dtype), exists)
    magnitude = (share * weights.abs()).sum(-1, keepdim=True)  # [B, 1]
    relative = weights / torch.where(magnitude > 0, magnitude, 1.0)
    row, column = torch.triu_indices(dim, dim, device=positions.device)
    packed = covariances[..., row, column] / variance  # [B, N, D (D + 1) / 2]
    return PointSet(positions.to(dtype), torch.cat([relative[..., None], packed], -1).to(dtype), exists)


def spread(
    rows: Tensor,  # [E, C]
    exists: Tensor,  # [...] bool, E of them true
) -> Tensor:  # [..., C]
    """Rows at their places, in their order, and zeros elsewhere."""
    if len(rows) == exists.numel():
        return rows.view(*exists.shape, rows.shape[1])
    places = exists.flatten().nonzero().squeeze(1)
    return rows.new_zeros(exists.numel(), rows.shape[1]).index_copy(0, places, rows).view(*exists.shape, rows.shape[1])


def pack(
    values: Tensor,  # [..., C]
    exists: Tensor,  # [...] bool
    count: int | None = None,
) -> Tensor:  # [E, C]
    """The rows of what exists, in their order; ``count`` is their number where it is known."""
    return values.flatten(0, -2) if count == exists.numel() else values[exists]


def maxima(
    rows: Tensor,  # [E, C], not negative
    exists: Tensor,  # [..., N] bool, E of them true
) -> Tensor:  # [..., C]
    """The largest value of each set and channel. Outputs of a ReLU are not negative: an empty set has zero."""
    lengths = exists.sum(-1)
    # The rows of a set follow each other, so that nothing is spread over the N places first: a sixth of the time.
    largest = torch.segment_reduce(rows, "max", lengths=lengths.flatten(), unsafe=True, initial=0)
    return largest.view(*lengths.shape, rows.shape[1])


def layers(*widths: int, dropout: Sequence[float] = ()) -> nn.Sequential:
    """Linear layers on rows, each with batch normalisation, ReLU and the dropout of its place (0: none)."""
    modules: list[nn.Module] = []
    for index, (given, wanted) in enumerate(itertools.pairwise(widths)):
        # The normalisation has the bias.
        modules += [nn.Linear(given, wanted, bias=False), BatchNorm(wanted), nn.ReLU()]
        if index < len(dropout) and dropout[index]:
            modules.append(nn.Dropout(dropout[index]))
    return nn.Sequential(*modules)
