"""Integrals of mixtures."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.checks import check_mixture


def integrate(
    mixture: Mixture,  # [..., N]
) -> Tensor:  # [...]
    """The integral over all of space: the sum of the weights, since every component is a normal density.

    Raises ValueError where the mixture's tensors do not belong together.
    """
    return check_mixture(mixture).weights.sum(-1)
