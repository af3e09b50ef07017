"""What a Gaussian mixture layer computes for each number between its matrix products, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.errors import unknown
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_same

ACTIVATIONS = ("linear", "relu", "erf", "gelu")  # in the order of csrc/layer_moments/activations.h


def layer_moments(
    mean: Tensor,  # [K, B]
    variance: Tensor,  # [K, B]
    along: Tensor,  # [K, R, B]
    weights: Tensor,  # [K]
    activation: str,
) -> tuple[Tensor, Tensor]:  # [K, B], [K, R, B]
    """``weights E s(z)`` and ``weights E s'(z) along`` for normal z, whose variance is ``variance + sum_r along_r^2``.

    For K components and B objects. ``activation`` s is linear, relu, erf or gelu. The normal distribution is exact to
    about the rounding. Time and memory O(K R B).

    Raises ValueError where shapes, dtypes or devices do not fit, and InputError for an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise unknown("activation of layer_moments", activation, ACTIVATIONS)
    if mean.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"mean must be float32 or float64, got {mean.dtype}")
    if along.ndim != 3:
        raise ValueError(f"along must be [K, R, B], got {list(along.shape)}")
    components, _, objects = along.shape
    others = {"mean": (mean, [components, objects]), "variance": (variance, [components, objects])}
    for name, (tensor, shape) in {**others, "weights": (weights, [components])}.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} {list(tensor.shape)} does not fit along {list(along.shape)}: expected {shape}")
        check_same(tensor, along, (name, "along"))
    return autograd.call("layer_moments", mean, variance, along, weights, code(activation))


def code(activation: str) -> int:
    """The number by which the compiled operation knows an activation."""
    return ACTIVATIONS.index(activation)


@library.fake("layer_moments")
def _(mean: Tensor, variance: Tensor, along: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return mean.new_empty(mean.shape), along.new_empty(along.shape)


autograd.differentiable("layer_moments", tensors=4)
