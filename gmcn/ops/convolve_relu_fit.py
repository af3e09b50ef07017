"""The dense fit of a convolution, without the convolved mixture."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.convolve import check_convolution
from gmcn.ops.relu_fit import check_options


def convolve_relu_fit(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    *,
    offset: float = 0.0,
    smoothing: tuple[float, float] = (0.0, 0.0),
    cutoff: float = 0.0,
) -> Tensor:  # [B, G, N*F*K]
    """The weights of ``relu_fit(convolve(data, kernels))``, in the order of ``convolve``.

    The convolved mixture is never stored: its components are made where they are needed, so that memory is three
    numbers per component (the weights, and two values for the gradient) instead of thirteen in 3D; on CUDA besides at
    most 256 MB of working space, or what one shape of the batch needs. Time and options are those of
    :func:`gmcn.ops.relu_fit`.

    Raises ValueError where shapes, dtypes, devices or options do not fit, and RuntimeError where a covariance is not
    positive definite (on CUDA its mixture's weights become not-a-number).
    """
    check_convolution(data, kernels)
    weights, _, _ = autograd.call("convolve_relu_fit", *data, *kernels, *check_options(offset, smoothing, cutoff))
    return weights


@library.fake("convolve_relu_fit")
def _(
    weights: Tensor, positions: Tensor, covariances: Tensor, kernel_weights: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    components = weights.shape[1] * weights.shape[2] * kernel_weights.shape[2]
    shape = (weights.shape[0], kernel_weights.shape[0], components)
    return tuple(weights.new_empty(shape) for _ in range(3))


autograd.differentiable("convolve_relu_fit", tensors=6, kept=2, kernels=(3, 4, 5))
