"""Expectation maximisation on many point sets at once, and the moments of clusters it starts from.

float64, in unit coordinates (longest side 1). Compiled on the CPU, one task per shape; on other devices the twin of
:mod:`gmcn.fitting.reference` runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.fitting import reference
from gmcn.mixture import Mixture
from gmcn.ops import library  # noqa: F401  (loads the compiled operations)


def em(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    mixture: Mixture,  # [S, N]
    floor: float,
    steps: int,
    tolerance: float = 0.0,
) -> tuple[Mixture, Tensor, Tensor]:  # [S, N], [S], [S]
    """EM (Dempster et al. 1977) from ``mixture``: the fitted one, the steps taken, and the log-likelihood per unit of
    mass before the last of them.

    A shape takes ``steps`` steps, or ends after the first that found the log-likelihood less than ``tolerance``
    above that of the step before (scikit-learn's rule; 0: never). Masses sum to one per shape; a point of mass 0 does
    not exist. ``floor`` is added to every diagonal. A component that loses its mass keeps its position, has weight 0
    from then on, and ends with the mixture's mean covariance.

    Raises RuntimeError where a covariance is not positive definite, which a positive floor prevents.
    """
    if points.device.type != "cpu":
        return reference.em(points, mass, mixture, floor, steps, tolerance)
    *fitted, taken, likelihood = torch.ops.gmcn.em(points, mass, *mixture, floor, steps, tolerance)
    return Mixture(*fitted), taken, likelihood


def moments(
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
    assignment: Tensor,  # [S, M]
    fallback: Tensor,  # [S, N, D]
    floor: float,
) -> Mixture:  # [S, N]
    """Mass, mean and covariance of every cluster; an empty one gets weight 0 and its ``fallback`` position."""
    weighted = mass[..., None] * reference.monomials(points)
    statistics = reference.sum_clusters(weighted, assignment, fallback.shape[1])
    return reference.m_step(statistics, fallback, floor)
