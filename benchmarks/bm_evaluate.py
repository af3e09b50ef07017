"""Values of mixtures at points: our kernel beside what else one could pick.

The task: B mixtures of N Gaussians in 3D, float32, full covariances, each evaluated at its own N centres; forward +
backward differentiates with respect to weights, positions, covariances and points. Error: largest deviation of the
values from float64 over the largest value, of a batch of more than 32 in four of its mixtures. Limit: the machine's
rate of multiply-adds over the operations per pair; pairs that a cutoff leaves out are counted all the same.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import rivals
import torch
from common import arguments, progress, random_mixture, report, save
from limits import pair_limits
from measuring import measure, memory_limited, sample_of
from torch import Tensor

from gmcn import Mixture, ops

SIZES = ((32, 640), (2, 2560))
LARGE = (1024, 2560)  # fills a GPU for milliseconds, where the others take as long as it takes to launch them
OURS = "gmcn.ops.evaluate"
CUTOFF = 1e-7


def ours(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor, cutoff: float = 0.0) -> Tensor:
    return ops.evaluate(Mixture(weights, positions, covariances), points, cutoff=cutoff)


def exact_values(mixture: Mixture, points: Tensor) -> Tensor:
    """In float64 on the CPU, one mixture at a time; those that :func:`measuring.sample_of` names."""
    rows = sample_of(len(points)).to(points.device)
    mixture, points = mixture.map(lambda tensor: tensor[rows]), points[rows]
    pairs = zip(zip(*mixture.to("cpu", torch.float64), strict=True), points.cpu().double(), strict=True)
    return torch.stack([ops.reference.evaluate(Mixture(*one), point) for one, point in pairs])


def measure_size(ways: dict[str, tuple], b: int, n: int, options: Namespace) -> Iterator[dict[str, Any]]:
    mixtures = {positive: random_mixture(b, n, device=options.device, positive=positive) for positive in (False, True)}
    truths = {positive: [exact_values(mixture, mixture.positions)] for positive, mixture in mixtures.items()}
    giga = b * n * n / 1e9
    for name, (way, backward, positive) in ways.items():
        progress(f"evaluate, {b} x {n}: {name}")
        mixture = mixtures[positive]
        inputs = [*mixture, mixture.positions.clone()]
        limits = pair_limits(options)  # beside every way: the machine's clock may change
        found = measure(way, inputs, truths[positive], options, backward=backward, rows=sample_of(b))
        row: dict[str, Any] = {"B x N": f"{b} x {n}", "way": name}
        for words, seconds, limit in zip(
            ("forward", "forward + backward"), (found["forward"], found["both"]), limits, strict=True
        ):
            rate = None if seconds is None else giga / seconds
            row[f"{words}, G pairs/s"] = rate
            if options.device == "cpu":
                row[f"{words}, per core"] = rate and rate / options.threads
            row[f"{words}, share of the limit"] = rate and rate / (limit / 1e9)
        yield row | {"error": found["error"], "peak, MiB": found["peak"], "remark": found["remark"]}


def main() -> None:
    options = arguments(__doc__)
    compiled: Callable = torch.compile(rivals.quadratic, dynamic=False)
    ways = {  # function, whether it differentiates, whether weights must be positive
        OURS: (ours, True, False),
        f"{OURS}, cutoff {CUTOFF:g}": (lambda *given: ours(*given, cutoff=CUTOFF), True, False),
        "torch, broadcasting": (rivals.broadcasting, True, False),
        "torch, quadratic features": (rivals.quadratic, True, False),
        "torch.compile, quadratic features": (compiled, True, False),
        "torch, fused attention (SDPA)": (rivals.attention, True, False),
        "KeOps": (rivals.keops, True, False),
        "scikit-learn, score_samples": (rivals.scikit_learn, False, True),
    }
    sizes = ((2, 64),) if options.smoke else (LARGE,) if options.device == "cuda" else SIZES
    if options.smoke:
        del ways["torch.compile, quadratic features"], ways["KeOps"]
    rows: list[dict[str, Any]] = []
    with memory_limited(options):
        for b, n in sizes:
            for row in measure_size(ways, b, n, options):
                rows.append(row)
                save("evaluate", __doc__, rows, options)
    report("evaluate", __doc__, rows, options)


if __name__ == "__main__":
    main()
