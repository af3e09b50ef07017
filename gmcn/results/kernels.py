"""Two-layer perceptrons of infinite width, which are kernels, and ridge regression with these.

The network on x [d] has no biases: f(x) = sqrt(2 / n) sum_j a_j relu(w_j . x / sqrt(d)), with all of a [n] and w [n, d]
drawn from N(0, 1). Let t be the angle between x and y. With the arc-cosine functions of degree 0 and 1 (Cho and Saul,
"Kernel methods for deep learning", 2009),

    k0 = (pi - t) / pi,    k1 = (sin t + (pi - t) cos t) / pi,

its limits for n to infinity are

    NNGP(x, y) = E f(x) f(y) = |x| |y| k1 / d,
    NTK(x, y) = E grad f(x) . grad f(y) = |x| |y| k1 / d + x . y k0 / d    (gradients in a, and in w).

Regression with the first is the infinite network whose read-out alone is trained, with the second the one that is
trained as a whole by gradient descent (Jacot, Gabriel and Hongler, "Neural tangent kernel", 2018; Lee et al., "Wide
neural networks of any depth evolve as linear models under gradient descent", 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]  # vectors [A, d], [B, d] -> [A, B]

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # in units of the kernel's mean value for an object and itself
HELD_OUT = 5  # the fifth part of the training objects judges them
CHUNK = 512  # rows of a kernel at a time


def nngp(
    first: Tensor,  # [A, d]
    second: Tensor,  # [B, d]
) -> Tensor:  # [A, B]
    """The covariance of the infinite network's outputs, see above."""
    lengths, _, cosines = _compared(first, second)
    return _degree_one(cosines).mul_(lengths).div_(first.shape[1])


def ntk(
    first: Tensor,  # [A, d]
    second: Tensor,  # [B, d]
) -> Tensor:  # [A, B]
    """The inner product of the infinite network's gradients, see above."""
    lengths, products, cosines = _compared(first, second)
    return _degree_one(cosines).mul_(lengths).addcmul_(products, _degree_zero(cosines)).div_(first.shape[1])


def gram(kernel: Kernel, first: Tensor, second: Tensor) -> Tensor:  # [A, d], [B, d] -> [A, B]
    """The kernel, with little memory besides the result."""
    values = first.new_empty(len(first), len(second))
    for part, rows in zip(values.split(CHUNK), first.split(CHUNK), strict=True):
        part.copy_(kernel(rows, second))
    return values


def judge_ridges(
    values: Tensor,  # [N, N], of a kernel
    labels: Tensor,  # [N]
    classes: int,
    ridges: Sequence[float] = RIDGES,
) -> dict[float, float]:
    """By ridge, the share of the last fifth of the objects whose class the others tell right."""
    kept = len(labels) - max(1, len(labels) // HELD_OUT)

    def accuracy(ridge: float) -> float:
        solved, mean = solve(values[:kept, :kept], labels[:kept], classes, ridge)
        answers = (values[kept:, :kept] @ solved + mean).argmax(1)
        return (answers == labels[kept:]).double().mean().item()

    return {ridge: accuracy(ridge) for ridge in ridges}


def solve(
    values: Tensor,  # [N, N], of a kernel
    labels: Tensor,  # [N]
    classes: int,
    ridge: float,
) -> tuple[Tensor, Tensor]:  # [N, classes], [classes]
    """Coefficients of the objects in the ridge regression on one-hot labels, and the mean of these.

    An object's scores are the kernel with the N objects times the coefficients, plus the mean.
    """
    targets = torch.nn.functional.one_hot(labels, classes).to(values)
    mean = targets.mean(0)
    system = values.clone()
    system.diagonal().add_(ridge * values.diagonal().mean())
    return torch.cholesky_solve(targets - mean, torch.linalg.cholesky(system)), mean


def _compared(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # 3 times [A, B]
    """Products of the lengths, inner products, and cosines of the angles; a vector of zeros is at a right angle."""
    lengths = torch.outer(first.norm(dim=1), second.norm(dim=1))
    products = first @ second.mT
    return lengths, products, (products / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).clamp_(-1, 1)


def _degree_zero(cosines: Tensor) -> Tensor:
    return 1 - cosines.acos() / math.pi


def _degree_one(cosines: Tensor) -> Tensor:
    sines = (1 - cosines.square()).sqrt_()
    return cosines * _degree_zero(cosines) + sines.div_(math.pi)
