"""The dense fit of a convolution: the two operations one after the other."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference.convolve import convolve
from gmcn.ops.reference.relu_fit import relu_fit


def convolve_relu_fit(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    *,
    offset: float = 0.0,
    smoothing: tuple[float, float] = (0.0, 0.0),
    cutoff: float = 0.0,
) -> Tensor:  # [B, G, N*F*K]
    """The weights of the fitted convolution."""
    return relu_fit(convolve(data, kernels), offset=offset, smoothing=smoothing, cutoff=cutoff).weights
