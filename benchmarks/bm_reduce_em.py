"""The paper's modified EM, which is plain torch, beside TreeHEM, which replaces it.

The task: 32 mixtures of N Gaussians in 3D, float32, positive weights, reduced to 32; the gradient is that of all their
numbers. EM compares every component with every kept one, so that it needs memory for N x 32 matrices.
"""

from __future__ import annotations

import torch
from common import arguments, random_mixture, report
from measuring import memory_limited
from reductions import COLUMNS, measure_reduction

from gmcn import Mixture, ops

B, KEPT = 32, 32


def main() -> None:
    options = arguments(__doc__)
    b, sizes = (2, (40,)) if options.smoke else (B, (160, 640, 2560))

    def reduce_em(*given: torch.Tensor) -> Mixture:
        return ops.reduce_em(Mixture(*given), KEPT)

    ways = {
        "gmcn.ops.reduce_em": reduce_em,
        "gmcn.ops.reduce_treehem": lambda *given: ops.reduce_treehem(Mixture(*given), KEPT),
    }
    if not options.smoke:
        ways["torch.compile of gmcn.ops.reduce_em"] = torch.compile(reduce_em, dynamic=False)
    rows = []
    with memory_limited(options):
        for n in sizes:
            mixture = random_mixture(b, n, device=options.device, positive=True)
            rows += [measure_reduction(name, way, mixture, mixture, options) for name, way in ways.items()]
    report("reduce_em", f"{__doc__.rstrip()} {COLUMNS}", rows, options)


if __name__ == "__main__":
    main()
