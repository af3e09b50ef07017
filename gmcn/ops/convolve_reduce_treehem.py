"""TreeHEM of a convolution with new weights, without the convolved mixture."""

from __future__ import annotations

import math

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_same
from gmcn.ops.convolve import check_convolution, convolve
from gmcn.ops.reduce_treehem import check_options


def convolve_reduce_treehem(
    weights: Tensor,  # [B, G, N*F*K], not negative
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
    t: int = 2,
    *,
    kl_threshold: float = 0.5,
    virtual_samples: float = 4.0,
) -> Mixture:  # [B, G, min(n, N*F*K)]
    """``reduce_treehem(convolve(data, kernels) with these weights, n, t)``.

    The convolved mixture is never stored; the weights, which :func:`gmcn.ops.convolve_relu_fit` gives, are in the order
    of ``convolve``. Those of data and kernels are not read. Options and errors are those of
    :func:`gmcn.ops.reduce_treehem`.
    """
    check_convolution(data, kernels)
    check_same(weights, data.weights, ("weights", "data"))
    options = check_options(n, t, kl_threshold, virtual_samples)
    batch, *each = data.weights.shape
    shape = (batch, kernels.weights.shape[0], math.prod(each) * kernels.components)
    if weights.shape != shape:
        raise ValueError(f"weights are {list(weights.shape)}; data and kernels convolve to {list(shape)}")
    if n >= shape[-1]:
        return convolve(data, kernels)._replace(weights=weights)
    return Mixture(*autograd.call("convolve_reduce_treehem", weights, *data[1:], *kernels[1:], *options))


@library.fake("convolve_reduce_treehem")
def _(
    weights: Tensor,
    positions: Tensor,
    covariances: Tensor,
    kernel_positions: Tensor,
    kernel_covariances: Tensor,
    n: int,
    *options: float,
) -> tuple[Tensor, ...]:
    lead = (*weights.shape[:2], n)
    return weights.new_empty(lead), *(tensor.new_empty(*lead, *tensor.shape[3:]) for tensor in (positions, covariances))


autograd.differentiable("convolve_reduce_treehem", tensors=5, kernels=(3, 4))
