"""The decoder of PointGMM: a code becomes a tree of Gaussian mixtures, by splitting features again and again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gmcn.mixture.density import GaussianMixture
from gmcn.mixture.families import Frame
from gmcn.mixture.tree import MixtureTree
from gmcn.precision import full_precision

ROOTS, CHILDREN = 8, 4
HEADS = 8  # the width of queries and keys is that of features over this
SMALL = 1e-6  # of a direction that Gram-Schmidt leaves; below it, one that lies across is taken
SPREAD = 0.3  # standard deviation of Gaussians of the first level at first; half of it on each further one


class TreeDecoder(nn.Module):
    """Codes [B, Z] to a tree with levels of 8, 32, 128, ... Gaussians [B, N] in 3D, one more than there are ``splits``.

    The code becomes 8 features of width H. On each level these are cast to Gaussians; then siblings attend to each
    other, and each feature is split into 4. A cast gives a frame (six numbers, Gram-Schmidt), three variances a² +
    ``floor``, a mean, and a logit among siblings. Siblings are the children of one feature; the first 8 are siblings.

    Args:
        attention: whether siblings attend to each other.
        conditions: how many further numbers each cast is given, beside its feature.
    """

    def __init__(
        self,
        latent: int,
        width: int,
        splits: int,
        *,
        attention: bool = True,
        dropout: float = 0.1,
        floor: float = 1e-6,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.splits = width, splits
        self.roots = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(latent, 2 * width), nn.LayerNorm(2 * width), nn.ReLU()),
                nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.ReLU()),
                nn.Linear(width, 2 * width),
            ]
        )
        self.casts = nn.ModuleList([Cast(width, conditions, level, floor) for level in range(splits + 1)])
        self.attend = nn.ModuleList([SiblingAttention(width) for _ in range(splits)] if attention else [])
        self.split = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Linear(width, 2 * width),
                    nn.LayerNorm(2 * width),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(2 * width, CHILDREN * width),
                )
                for _ in range(splits)
            ]
        )

    def forward(
        self,
        codes: Tensor,  # [B, Z]
        conditions: Tensor | None = None,  # [B, conditions]
    ) -> MixtureTree:  # levels [B, N]
        features = codes[:, None]
        for layer in self.roots:
            features = layer(features).unflatten(-1, (2, self.width)).flatten(1, 2)
        features = features[:, None]  # [B, groups, siblings, H]
        levels: list[GaussianMixture] = []
        for level, cast in enumerate(self.casts):
            given = features
            if conditions is not None:
                given = torch.cat([features, conditions[:, None, None].expand(*features.shape[:-1], -1)], -1)
            logits, means, covariance = cast(given)
            if levels:  # weights along the path
                logits = logits.log_softmax(-1) + levels[-1].logits[..., None]
            levels.append(GaussianMixture(logits.flatten(1), means.flatten(1, 2), covariance))
            if level < self.splits:
                if self.attend:
                    features = self.attend[level](features)
                features = self.split[level](features).unflatten(-1, (CHILDREN, self.width)).flatten(1, 2)
        return MixtureTree(tuple(levels))


class Cast(nn.Module):
    """Features [B, G, S, H + conditions] to logits [B, G, S], means [B, G, S, 3] and covariances [B, G S]."""

    def __init__(self, width: int, conditions: int, level: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        last = nn.Linear(width // 2, 13)
        with torch.no_grad():  # so that the Gaussians cover the unit box
            last.bias[6:9] = SPREAD / 2**level
        self.layers = nn.Sequential(nn.Linear(width + conditions, width // 2), nn.ReLU(), last)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Frame]:
        numbers = self.layers(features).to(self.layers[0].weight.dtype)  # that autocast may have rounded
        first, second, roots, means, logits = numbers.split([3, 3, 3, 3, 1], -1)
        axes, variances = orthonormal(first, second), roots.square() + self.floor
        return logits[..., 0], means, Frame(axes.flatten(1, 2), variances.flatten(1, 2))


class SiblingAttention(nn.Module):
    """Features [B, G, S, H] with what their siblings attend to, times a number that starts at 0.

    Scores are divided by the root of their width, as attention has it; the authors' code defines that and leaves it
    out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries, self.keys = (nn.Linear(width, max(1, width // HEADS)) for _ in range(2))
        self.values = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        queries, keys = self.queries(features), self.keys(features)
        shares = (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(-1)
        return features + self.gate * (shares @ self.values(features))


@full_precision
def orthonormal(
    first: Tensor,  # [..., 3]
    second: Tensor,  # [..., 3]
) -> Tensor:  # [..., 3, 3]
    """Three axes in columns, by Gram-Schmidt: along ``first``, towards ``second``, and across both.

    Where one direction is none, or both are parallel, a direction across takes its place, and no gradient flows to
    what is missing.
    """
    axis = _unit(first, torch.eye(3, dtype=first.dtype, device=first.device)[0].expand_as(first))
    away = second - (second * axis).sum(-1, keepdim=True) * axis
    away = away - (away * axis).sum(-1, keepdim=True) * axis  # once more: the first time leaves rounding behind
    # The coordinate axis that is least along the first, made orthogonal.
    least = nn.functional.one_hot(axis.detach().abs().argmin(-1), 3).to(axis)
    side = least - (least * axis).sum(-1, keepdim=True) * axis
    other = _unit(away, side / side.norm(dim=-1, keepdim=True), second)
    return torch.stack([axis, other, torch.linalg.cross(axis, other)], -1)


def _unit(vector: Tensor, instead: Tensor, of: Tensor | None = None) -> Tensor:  # [..., 3] each
    """The vector over its length, or ``instead`` where that is nothing beside the length of ``of``."""
    whole = vector if of is None else of
    squares = vector.square().sum(-1, keepdim=True)
    there = squares > (SMALL * whole.square().sum(-1, keepdim=True).sqrt()).square().clamp(min=1e-24)
    return torch.where(there, vector * torch.where(there, squares, 1.0).rsqrt(), instead)
