"""Convolution of mixtures, equations (3) and (4)."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture


def convolve(
    data: Mixture,  # [B, F, N]
    kernels: Mixture,  # [G, F, K]
) -> Mixture:  # [B, G, N*F*K]
    """Every data component with every kernel component of its channel, at index ``n + N * (f + F * k)``."""

    def of_data(tensor: Tensor) -> Tensor:  # [B, F, N, ...] -> [B, 1, 1, F, N, ...]
        return tensor[:, None, None]

    def of_kernels(tensor: Tensor) -> Tensor:  # [G, F, K, ...] -> [G, K, F, 1, ...]
        return tensor.transpose(1, 2).unsqueeze(3)

    weights = of_data(data.weights) * of_kernels(kernels.weights)
    positions = of_data(data.positions) + of_kernels(kernels.positions)
    covariances = of_data(data.covariances) + of_kernels(kernels.covariances)
    return Mixture(weights, positions, covariances).map(lambda tensor: tensor.flatten(2, 4))
