"""Values of mixtures at points: our kernel beside what else one could write in torch.

The task: B = 32 mixtures of N = 640 Gaussians (and 2 of 2,560) in 3D, float32, full covariances, each evaluated at its
own centres; "forward + backward" differentiates with respect to weights, positions, covariances and points.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, random_mixture, report, seconds_of
from torch import Tensor

from gmcn import Mixture, ops


def log_scale(covariances: Tensor) -> Tensor:
    return -0.5 * (torch.logdet(covariances) + covariances.shape[-1] * math.log(2 * math.pi))


def broadcasting(mixture: Mixture, points: Tensor) -> Tensor:
    """The definition, written down: memory O(N M)."""
    delta = points[:, :, None] - mixture.positions[:, None]  # [B, M, N, D]
    precisions = torch.linalg.inv(mixture.covariances)[:, None]
    distances = (delta[..., None, :] @ precisions @ delta[..., None])[..., 0, 0]
    scale = mixture.weights * log_scale(mixture.covariances).exp()
    return (torch.exp(-0.5 * distances) * scale[:, None]).sum(-1)


def features(mixture: Mixture, points: Tensor) -> tuple[Tensor, Tensor]:
    """log density as an inner product: of quadratic features of the points, and of coefficients of the Gaussians."""
    precisions = torch.linalg.inv(mixture.covariances)
    linear = (precisions @ mixture.positions[..., None])[..., 0]
    constant = log_scale(mixture.covariances) - 0.5 * (linear * mixture.positions).sum(-1)
    theta = torch.cat((-0.5 * precisions.flatten(-2), linear, constant[..., None]), -1)  # [B, N, D D + D + 1]
    square = (points[..., :, None] * points[..., None, :]).flatten(-2)
    return torch.cat((square, points, torch.ones_like(points[..., :1])), -1), theta


def quadratic(mixture: Mixture, points: Tensor) -> Tensor:
    """Two matrix products around one exponential."""
    phi, theta = features(mixture, points)
    return (torch.exp(phi @ theta.mT) @ mixture.weights[..., None])[..., 0]


def attention(mixture: Mixture, points: Tensor) -> Tensor:
    """Fused attention as a sum of exponentials: softmax times its normaliser, which one extra key of score 0 reads."""
    phi, theta = features(mixture, points)
    b, n = mixture.weights.shape
    width = 16  # heads of a multiple of eight
    query = torch.nn.functional.pad(phi, (0, width - phi.shape[-1]))[:, None]
    key = torch.nn.functional.pad(theta, (0, width - theta.shape[-1], 0, 1))[:, None]
    value = points.new_zeros(b, n + 1, width)
    value[:, :n, 0] = mixture.weights
    value[:, n, 1] = 1
    result = torch.nn.functional.scaled_dot_product_attention(query, key, value[:, None], scale=1.0)[:, 0]
    return result[..., 0] / result[..., 1]


def measure(name: str, way: Callable[[Mixture, Tensor], Tensor], b: int, n: int, options: Namespace) -> dict[str, Any]:
    """One row of the table."""
    mixture = random_mixture(b, n)
    points = mixture.positions.clone()
    truth = ops.reference.evaluate(mixture.to(torch.float64), points.double())
    leaves = [tensor.clone().requires_grad_() for tensor in (*mixture, points)]
    upstream = torch.randn(b, n, generator=torch.Generator().manual_seed(1))

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(way(Mixture(*leaves[:3]), leaves[3]), leaves, upstream)

    with torch.no_grad():
        forward = seconds_of(lambda: way(mixture, points), options)
        error = float((way(mixture, points) - truth).abs().max() / truth.abs().max())
    giga = b * n * n / 1e9
    return {
        "B x N": f"{b} x {n}",
        "way": name,
        "forward, G pairs/s": giga / forward,
        "forward + backward, G pairs/s": giga / seconds_of(step, options),
        "error": error,
    }


def main() -> None:
    options = arguments(__doc__)
    ways = {
        "torch, broadcasting": broadcasting,
        "torch, quadratic features": quadratic,
        "torch.compile, quadratic features": torch.compile(quadratic, dynamic=False),
        "torch, fused attention (SDPA)": attention,
        "gmcn.ops.evaluate": ops.evaluate,
    }
    sizes = ((32, 640), (2, 2560))
    rows = [measure(name, way, b, n, options) for b, n in sizes for name, way in ways.items()]
    report("evaluate", __doc__.split("\n\n")[1].replace("\n", " "), rows, options)


if __name__ == "__main__":
    main()
