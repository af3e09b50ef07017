"""What a fit says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmcn.fitting.gmm.families import EMPTY_MASS
from gmcn.mixture import Covariance, Diagonal, Full, GaussianMixture, LowRank

_ROWS = 1024  # of components that are compared with all at a time


@dataclass(frozen=True)
class FitReport:
    """How a fit went. Of a batch of fits each tensor has its leading dimensions [...].

    Attributes:
        iterations: passes over the points.
        converged: whether the last iteration changed the log-likelihood by at most the tolerance.
        log_likelihood: per iteration, the mean log-likelihood per unit of mass *before* its step (for k-means the
            negative mean squared distance); of a fit that has ended it stays as it was.
        empty: components without mass, which have weight 0.
        dying: components with the mass of less than one point, the empty ones left out.
        identical: components with mean and variances of one before them, to a hundredth of the standard deviation.
        floored: components with a variance at the floor in some direction.
    """

    iterations: Tensor  # [...]
    converged: Tensor  # [...]
    log_likelihood: list[Tensor] = field(repr=False)  # [...] each
    empty: Tensor  # [...]
    dying: Tensor  # [...]
    identical: Tensor  # [...]
    floored: Tensor  # [...]


def counts(mixture: GaussianMixture, points: Tensor, floor: float) -> dict[str, Tensor]:
    """The counts of a report; ``points`` [...] are how many points have mass."""
    weights = mixture.logits.exp()
    empty = weights <= EMPTY_MASS
    dying = (weights * points[..., None] < 1 - 1e-6) & ~empty
    return {
        "empty": empty.sum(-1),
        "dying": dying.sum(-1),
        "identical": _identical(mixture, ~empty),
        "floored": ((least_variance(mixture.covariance) <= floor * (1 + 1e-6)) & ~empty).sum(-1),
    }


def least_variance(covariance: Covariance) -> Tensor:  # [..., N]
    """The least variance along any direction; of a factor analyser, that of its diagonal part."""
    if isinstance(covariance, Diagonal | LowRank):
        return covariance.std.square().amin(-1)
    assert isinstance(covariance, Full)
    return torch.linalg.svdvals(covariance.factor)[..., -1].square()


def _identical(mixture: GaussianMixture, alive: Tensor) -> Tensor:  # [..., N] -> [...]
    """How many components have, to a hundredth of their standard deviation, mean and variances of an earlier one."""
    variances = variances_of(mixture.covariance)
    size = variances.sum(-1).sqrt()
    rows = torch.cat([mixture.means, variances.sqrt()], -1)
    found = torch.zeros_like(alive)
    for start in range(0, mixture.components, _ROWS):
        part = slice(start, start + _ROWS)
        near = torch.cdist(rows[..., part, :], rows, compute_mode="donot_use_mm_for_euclid_dist") <= (
            1e-2 * size[..., part, None]
        )
        earlier = torch.ones_like(near).tril(start - 1)
        found[..., part] = (near & earlier & alive[..., None, :]).any(-1)
    return (found & alive).sum(-1)


def variances_of(covariance: Covariance) -> Tensor:  # [..., N, D]
    """The diagonals of the covariances."""
    if isinstance(covariance, Diagonal):
        return covariance.std.square()
    if isinstance(covariance, LowRank):
        return covariance.std.square() + covariance.factor.square().sum(-1)
    assert isinstance(covariance, Full)
    return covariance.factor.square().sum(-1)
