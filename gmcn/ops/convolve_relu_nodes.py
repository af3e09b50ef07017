"""The dense fit of a convolution at the nodes of a reduction of its positive part."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_count
from gmcn.ops.convolve import check_convolution

MOST_NODES = 32_767  # a component's node is kept in 16 bits


def convolve_relu_nodes(
    data: Mixture,  # [B, F, N], weights not negative
    kernels: Mixture,  # [G, F, K]
    n: int,
) -> Mixture:  # [B, G, n]
    """max(0, convolution) with ``n`` components, in time O(N F K n) and without the convolved mixture.

    The components of positive weight are sorted by Morton code, and the radix tree over that order is opened at the
    node of largest mass * sum of squared distances from its mean until there are n. Each node is the Gaussian of
    its components' mass, mean and covariance, times max(0, f) / g: at its mean f is the convolution and g its positive
    part, all components of each. This is equation (7) with the mean of each group in place of every centre. Slots that
    stay empty repeat the first node with weight 0; where no component is positive, all have weight 0, position 0 and
    the identity as covariance. The gradient is exact for a fixed tree.

    Raises ValueError where shapes, dtypes or devices do not fit or n is not in 1 to 32767, and RuntimeError where a
    covariance is not positive definite or a weight of the data is negative (on CUDA its mixture's weights become
    not-a-number, as everywhere where a weight is none).
    """
    check_convolution(data, kernels)
    if check_count(n) > MOST_NODES:
        raise ValueError(f"n must be at most {MOST_NODES}, got {n}")
    weights, positions, covariances, *_ = autograd.call("convolve_relu_nodes", *data, *kernels, int(n))
    return Mixture(weights, positions, covariances)


@library.fake("convolve_relu_nodes")
def _(
    weights: Tensor,
    positions: Tensor,
    covariances: Tensor,
    kernel_weights: Tensor,
    kernel_positions: Tensor,
    kernel_covariances: Tensor,
    n: int,
) -> tuple[Tensor, ...]:
    lead = (weights.shape[0], kernel_weights.shape[0], n)
    components = weights.shape[1] * weights.shape[2] * kernel_weights.shape[2]
    return (
        *(tensor.new_empty(*lead, *tensor.shape[3:]) for tensor in (weights, positions, covariances)),
        *(weights.new_empty(lead) for _ in range(3)),
        weights.new_empty((*lead[:2], components), dtype=torch.int16),
    )


autograd.differentiable("convolve_relu_nodes", tensors=6, results=(1, 2), kept=4, kernels=(3, 4, 5))
