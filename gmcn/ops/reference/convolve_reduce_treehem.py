"""TreeHEM of a convolution with new weights: the two operations one after the other."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference.convolve import convolve
from gmcn.ops.reference.reduce_treehem import reduce_treehem


def convolve_reduce_treehem(
    weights: Tensor,  # [B, G, N*F*K]
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
    t: int = 2,
    *,
    kl_threshold: float = 0.5,
    virtual_samples: float = 4.0,
) -> Mixture:  # [B, G, min(n, N*F*K)]
    """The convolution with the given weights, reduced."""
    convolved = convolve(data, kernels)._replace(weights=weights)
    return reduce_treehem(convolved, n, t, kl_threshold=kl_threshold, virtual_samples=virtual_samples)
