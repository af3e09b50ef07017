"""The analytical convolution of mixtures, equations (3) and (4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_count, check_mixture, check_same


def convolve(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
) -> Mixture:  # [B, G, N*F*K]
    """Every output channel g is the sum over input channels f of data f convolved with kernel (g, f).

    Equations (3) and (4) of the GMCN paper: weights multiply, positions and covariances add. Component (n, f, k) has
    the index ``n + N (f + F k)``. Raises ValueError where shapes, dtypes or devices do not fit.
    """
    check_convolution(data, kernels)
    b, g = data.weights.shape[0], kernels.weights.shape[0]

    def pairwise(of_data: Tensor, of_kernels: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        trailing = of_data.shape[3:]
        a = of_data[:, None, None]  # [B, 1, 1, F, N, ...]
        k = of_kernels.transpose(1, 2).unsqueeze(3)  # [G, K, F, 1, ...]
        return operation(a, k).reshape(b, g, data.weights.shape[1:].numel() * kernels.components, *trailing)

    return Mixture(
        pairwise(data.weights, kernels.weights, torch.mul),
        pairwise(data.positions, kernels.positions, torch.add),
        pairwise(data.covariances, kernels.covariances, torch.add),
    )


def convolve_fit(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
    n: int,
) -> Mixture:  # [B, G, n]
    """Convolution and reduction to n components at once, without the convolved mixture (section 6, appendix A).

    The convolved components are sorted by sign and Morton code, the radix tree over that order is opened from its root
    at the node of largest absolute mass until there are n, and each subtree becomes the Gaussian of the same mass, mean
    and covariance. Slots that stay empty have weight 0, position 0 and the identity as covariance. Time is
    O(N F K log(N F K)) per output mixture; the gradient is exact for a fixed tree. With n = 1 and weights of both signs
    the one Gaussian's covariance need not be positive definite: take n >= 2.

    Raises ValueError where shapes, dtypes or devices do not fit.
    """
    check_convolution(data, kernels)
    return Mixture(*autograd.call("convolve_fit", *data, *kernels, check_count(n)))


def check_convolution(data: Mixture, kernels: Mixture) -> None:
    """ValueError unless the data [B, F, N] can be convolved with the kernels [G, F, K]."""
    check_mixture(data, "data")
    check_mixture(kernels, "kernels")
    check_same(data.weights, kernels.weights, ("data", "kernels"))
    if data.weights.ndim != 3 or kernels.weights.ndim != 3:
        raise ValueError(
            f"data must be [B, F, N] and kernels [G, F, K], got {list(data.weights.shape)} and "
            f"{list(kernels.weights.shape)}"
        )
    if data.weights.shape[1] != kernels.weights.shape[1] or data.dim != kernels.dim:
        raise ValueError(
            f"data has {data.weights.shape[1]} channels in {data.dim}D, kernels expect {kernels.weights.shape[1]} "
            f"channels in {kernels.dim}D"
        )


@library.fake("convolve_fit")
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
    return tuple(tensor.new_empty(*lead, *tensor.shape[3:]) for tensor in (weights, positions, covariances))


autograd.differentiable("convolve_fit", tensors=6, kernels=(3, 4, 5))
