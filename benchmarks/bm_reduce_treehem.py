"""The reduction beside its plain-torch twin and the paper's modified EM.

The task: 32 mixtures of N Gaussians in 3D, float32, positive weights, reduced to 32 with T = 2; the gradient is that of
all their numbers.
"""

from __future__ import annotations

from common import arguments, random_mixture, report
from measuring import memory_limited
from reductions import COLUMNS, measure_reduction

from gmcn import Mixture, ops

B, KEPT = 32, 32


def main() -> None:
    options = arguments(__doc__)
    b, sizes = (2, (40,)) if options.smoke else (B, (160, 640, 2560, 10240))
    rows = []
    with memory_limited(options):
        for n in sizes:
            mixture = random_mixture(b, n, device=options.device, positive=True)
            ways = {
                "gmcn.ops.reduce_treehem": lambda *given: ops.reduce_treehem(Mixture(*given), KEPT),
                "gmcn.ops.reduce_treehem, T = 4": lambda *given: ops.reduce_treehem(Mixture(*given), KEPT, 4),
                "gmcn.ops.reduce_em": lambda *given: ops.reduce_em(Mixture(*given), KEPT),
            }
            if n == min(sizes):  # minutes for larger ones
                twin = ops.reference.reduce_treehem
                ways["plain-torch twin"] = lambda *given, twin=twin: twin(Mixture(*given), KEPT)
            rows += [measure_reduction(name, way, mixture, mixture, options) for name, way in ways.items()]
    report("reduce_treehem", f"{__doc__.rstrip()} {COLUMNS}", rows, options)


if __name__ == "__main__":
    main()
