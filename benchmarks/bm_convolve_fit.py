"""Convolution and reduction at once, beside doing one after the other.

The task: the convolution of the paper's second layer for 4 shapes (8 channels of 64 Gaussians, 16 x 8 kernels of 5: 64
mixtures of N = 2,560 components), fitted by 64 Gaussians each, 3D, float32; the gradient is that of data and kernels.
"""

from __future__ import annotations

import torch
from common import arguments, random_mixture, report
from measuring import memory_limited
from reductions import COLUMNS, measure_reduction

from gmcn import Mixture, ops


def main() -> None:
    options = arguments(__doc__)
    b, f, n, g, k, kept = (2, 2, 8, 2, 3, 8) if options.smoke else (4, 8, 64, 16, 5, 64)
    data = random_mixture(b, f, n, device=options.device)
    kernels = random_mixture(g, f, k, device=options.device, seed=1)

    def by(module: object):
        return lambda *given: module.convolve_fit(Mixture(*given[:3]), Mixture(*given[3:]), kept)

    def convolve(*given: torch.Tensor) -> Mixture:
        return ops.convolve(Mixture(*given[:3]), Mixture(*given[3:]))

    ways = {
        "gmcn.ops.convolve_fit": by(ops),
        "convolve, then reduce_em": lambda *given: ops.reduce_em(convolve(*given), kept),
        "convolve, then relu_fit and reduce_treehem": lambda *given: ops.reduce_treehem(
            ops.relu_fit(convolve(*given)), kept
        ),
        "plain-torch twin": by(ops.reference),
    }
    inputs = [*data, *kernels]
    full = ops.convolve(data, kernels)
    with memory_limited(options):
        rows = [measure_reduction(name, way, inputs, full, options) for name, way in ways.items()]
    for row in rows:
        if "relu_fit" in row["way"]:  # another mixture: the rectified one
            row["error"] = row["distance"] = None
    report("convolve_fit", f"{__doc__.rstrip()} {COLUMNS}", rows, options)


if __name__ == "__main__":
    main()
