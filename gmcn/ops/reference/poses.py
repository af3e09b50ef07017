"""Overlaps of mixtures under poses, in plain torch and with all gradients."""

from __future__ import annotations

import torch
from torch import Tensor

Components = tuple[Tensor, Tensor, Tensor]


def pose_overlaps(
    source: Components,  # [N], [N, 3], [N, 3, 3]
    target: Components,
    rotations: Tensor,  # [P, 3, 3]
    translations: Tensor,  # [P, C, 3]
) -> Tensor:  # [P, C]
    """The overlaps of ``R source + t`` with the target."""
    scales = rotations.new_ones(len(rotations), 1)
    return pose_values(source, target, rotations[:, None], translations, scales).exp()


def pose_values(
    source: Components,  # [N], [N, 3], [N, 3, 3]
    target: Components,
    rotations: Tensor,  # [..., 3, 3]
    translations: Tensor,  # [..., 3]
    scales: Tensor,  # [...]
) -> Tensor:  # [...]
    """Logarithms of the overlaps of ``scale R source + t`` with the target, plus 3/2 log scale."""
    means = scales[..., None, None] * (source[1] @ rotations.mT) + translations[..., None, :]
    turned = rotations[..., None, :, :]
    covariances = scales[..., None, None, None].square() * (turned @ source[2] @ turned.mT)
    pair = torch.distributions.MultivariateNormal(target[1], covariances[..., :, None, :, :] + target[2])
    logs = pair.log_prob(means[..., :, None, :]) + source[0].log()[:, None] + target[0].log()
    return logs.logsumexp((-2, -1)) + 1.5 * scales.log()
