"""Integrals of mixtures."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture


def integrate(
    mixture: Mixture,  # [..., N]
) -> Tensor:  # [...]
    """The integral over all of space: the sum of the weights, since every component is a normal density."""
    return mixture.weights.sum(-1)
