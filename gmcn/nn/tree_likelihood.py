"""Likelihoods of points under trees of mixtures, batched, by the compiled operation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gmcn import ops
from gmcn.mixture.density import GaussianMixture
from gmcn.mixture.families import Frame
from gmcn.mixture.tree import MixtureTree


def hard_path(
    tree: MixtureTree,  # levels [B, N_l] in 2D or 3D, regular, of the family Frame
    points: Tensor,  # [B, M, D]
) -> Tensor:  # [B, M, L]
    """That of :meth:`MixtureTree.hard_path_log_prob`, PointGMM's loss before its mean: per level, among siblings."""
    logits = [tree.levels[0].logits]
    for above, level in itertools.pairwise(tree.levels):
        logits.append((level.logits.unflatten(-1, (above.components, -1)) - above.logits[..., None]).flatten(1))
    return _log_prob(tree.levels, logits, points)


def exact(
    mixture: GaussianMixture,  # [B, N] in 2D or 3D, of the family Frame
    points: Tensor,  # [B, M, D]
) -> Tensor:  # [B, M]
    """That of :meth:`GaussianMixture.log_prob`."""
    return _log_prob([mixture], [mixture.logits], points)[..., 0]


def _log_prob(levels: Sequence[GaussianMixture], logits: Sequence[Tensor], points: Tensor) -> Tensor:
    heights, whiteners = [], []
    for level, own in zip(levels, logits, strict=True):
        covariance = level.covariance
        assert isinstance(covariance, Frame)  # as decoders make them
        heights.append(own - (covariance.logdet() + level.dim * math.log(2 * math.pi)) / 2)
        whiteners.append(covariance.axes.mT * covariance.variances.rsqrt()[..., None])
    sizes = [level.components for level in levels]
    means = torch.cat([level.means for level in levels], 1)
    return ops.tree_log_prob(points, torch.cat(heights, 1), means, torch.cat(whiteners, 1), sizes)
