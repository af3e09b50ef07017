"""Expectation-maximisation of a reduced mixture on the components that it stands for, equations (15) and (16)."""

from __future__ import annotations

import torch

from gmcn.mixture import Mixture
from gmcn.ops.reference.em import expected_log_densities, moments

NEGLIGIBLE = 1e-20  # share of the mass below which a component stays where it is


def refine_em(
    mixture: Mixture,  # [..., n]
    target: Mixture,  # [..., N]
    steps: int = 1,
    *,
    virtual_samples: float = 2.0,
) -> Mixture:  # [..., n]
    """The mixture after ``steps`` on all components of the target, of ``virtual_samples`` each."""
    for _ in range(steps):
        log_joint = virtual_samples * expected_log_densities(target, mixture)  # [..., N, n]
        empty = mixture.weights <= 0
        log_joint = log_joint + mixture.weights.masked_fill(empty, 1.0).log()[..., None, :]
        log_joint = log_joint.masked_fill(empty[..., None, :], torch.finfo(log_joint.dtype).min)
        parts = log_joint.softmax(-1) * target.weights[..., None]
        masses = parts.sum(-2)
        kept = masses > NEGLIGIBLE * target.weights.sum(-1, keepdim=True)
        positions, covariances = moments(parts / masses.where(kept, 1.0)[..., None, :], target)
        kept = kept[..., None]
        mixture = Mixture(
            masses, positions.where(kept, mixture.positions), covariances.where(kept[..., None], mixture.covariances)
        )
    return mixture
