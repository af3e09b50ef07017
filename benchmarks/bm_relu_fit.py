"""The dense fit beside one evaluation of the same mixture.

The task: B = 32 mixtures of N = 640 Gaussians in 3D, float32, rectified; one exponential serves both sets of weights.
With offset 0 (the network's default) the centres of non-positive weight are not visited.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from common import arguments, random_mixture, report, seconds_of
from torch import Tensor

from gmcn import Mixture, ops

B, N = 32, 640


def measure(name: str, way: Callable[[Any, Mixture], Tensor], options: Namespace) -> dict[str, Any]:
    mixture = random_mixture(B, N)
    leaves = [tensor.clone().requires_grad_() for tensor in mixture]
    upstream = torch.randn(B, N, generator=torch.Generator().manual_seed(1))
    truth = way(ops.reference, mixture.to(torch.float64))
    with torch.no_grad():
        forward = seconds_of(lambda: way(ops, mixture), options)
        error = float((way(ops, mixture) - truth).abs().max() / truth.abs().max())
    both = seconds_of(lambda: torch.autograd.grad(way(ops, Mixture(*leaves)), leaves, upstream), options)
    return {"way": name, "forward, ms": 1e3 * forward, "forward + backward, ms": 1e3 * both, "error": error}


def main() -> None:
    options = arguments(__doc__)
    ways = {
        "evaluate at its own centres": lambda module, mixture: module.evaluate(mixture, mixture.positions),
        "relu_fit": lambda module, mixture: module.relu_fit(mixture).weights,
        "relu_fit, offset 0.1": lambda module, mixture: module.relu_fit(mixture, offset=0.1).weights,
    }
    rows = [measure(name, way, options) for name, way in ways.items()]
    report("relu_fit", __doc__.split("\n\n")[1].replace("\n", " "), rows, options)


if __name__ == "__main__":
    main()
