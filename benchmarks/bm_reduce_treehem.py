"""The reduction, and how its time grows.

The task: 32 mixtures of N Gaussians in 3D, float32, reduced to 32 with T = 2.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from common import arguments, random_mixture, report, seconds_of

from gmcn import Mixture, ops

B, KEPT = 32, 32


def measure(n: int, options: Namespace) -> dict[str, Any]:
    mixture = random_mixture(B, n)
    mixture = mixture._replace(weights=mixture.weights.abs())
    leaves = [tensor.clone().requires_grad_() for tensor in mixture]
    with torch.no_grad():
        forward = seconds_of(lambda: ops.reduce_treehem(mixture, KEPT), options)
        mass = ops.reduce_treehem(mixture, KEPT).weights.sum(-1) / mixture.weights.sum(-1)

    def step() -> tuple[torch.Tensor, ...]:
        reduced = ops.reduce_treehem(Mixture(*leaves), KEPT)
        return torch.autograd.grad(sum(tensor.sum() for tensor in reduced), leaves)

    return {
        "N": n,
        "forward, ms": 1e3 * forward,
        "forward + backward, ms": 1e3 * seconds_of(step, options),
        "error of the mass": float((mass - 1).abs().max()),
    }


def main() -> None:
    options = arguments(__doc__)
    rows = [measure(n, options) for n in (160, 640, 2560, 10240)]
    report("reduce_treehem", __doc__.split("\n\n")[1].replace("\n", " "), rows, options)


if __name__ == "__main__":
    main()
