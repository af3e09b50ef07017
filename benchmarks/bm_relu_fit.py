"""The dense fit beside one evaluation of the same mixture, and beside other ways to do it.

The task: new weights for B mixtures of N Gaussians in 3D, float32, and their gradient with respect to weights,
positions and covariances. Two sets of weights share one exponential. With offset 0, the network's default,
centres of non-positive weight are not visited and do not count for the share of the limit; pairs that a cutoff leaves
out do. Error: largest deviation of the values from float64 over the largest value, of a batch of more than 32 in four
of its mixtures.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import rivals
import torch
from bm_evaluate import CUTOFF, LARGE, exact_values, ours
from common import arguments, progress, random_mixture, report, save
from limits import pair_limits
from measuring import measure, memory_limited, sample_of
from torch import Tensor

from gmcn import Mixture, ops

OFFSET = 0.1  # the authors'


def relu_fit(offset: float, cutoff: float = 0.0) -> Callable[..., Tensor]:
    return lambda *mixture: ops.relu_fit(Mixture(*mixture), offset=offset, cutoff=cutoff).weights


def exact_fit(mixture: Mixture, offset: float) -> Tensor:
    """In float64 on the CPU, one mixture at a time; those that :func:`measuring.sample_of` names."""
    rows = sample_of(len(mixture.weights)).to(mixture.weights.device)
    mixture = mixture.map(lambda tensor: tensor[rows])
    ones = zip(*mixture.to("cpu", torch.float64), strict=True)
    return torch.stack([ops.reference.relu_fit(Mixture(*one), offset=offset).weights for one in ones])


def ways_of(options: Namespace) -> dict[str, tuple[Callable[..., Tensor], float | None]]:
    """By name: a function of the mixture, and the offset of its fit (None for the evaluation)."""
    ways: dict[str, tuple[Callable[..., Tensor], float | None]] = {
        "gmcn.ops.evaluate at its own centres": (lambda w, p, c: ours(w, p, c, p), None),
        "gmcn.ops.relu_fit": (relu_fit(0.0), 0.0),
        f"gmcn.ops.relu_fit, cutoff {CUTOFF:g}": (relu_fit(0.0, CUTOFF), 0.0),
        f"gmcn.ops.relu_fit, offset {OFFSET}": (relu_fit(OFFSET), OFFSET),
        "torch, quadratic features": (rivals.relu_fit_by(rivals.quadratic, OFFSET), OFFSET),
        "torch, fused attention (SDPA)": (rivals.relu_fit_by(rivals.attention, OFFSET), OFFSET),
    }
    if not options.smoke:
        compiled = torch.compile(rivals.relu_fit_by(rivals.quadratic, OFFSET), dynamic=False)
        ways["torch.compile, quadratic features"] = (compiled, OFFSET)
    return ways


def main() -> None:
    options = arguments(__doc__)
    b, n = (2, 64) if options.smoke else LARGE if options.device == "cuda" else (32, 640)
    mixture = random_mixture(b, n, device=options.device)
    positive = float((mixture.weights > 0).float().mean())
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    exact: dict[float | None, Tensor] = {None: exact_values(mixture, mixture.positions)}  # by offset
    with memory_limited(options):
        for name, (way, offset) in ways_of(options).items():
            progress(f"relu_fit: {name}")
            if offset not in exact:
                exact[offset] = exact_fit(mixture, offset)
            limits = pair_limits(options, weight_sets=1 if offset is None else 2)
            found = measure(way, mixture, [exact[offset]], options, rows=sample_of(b))
            first = first or found
            row: dict[str, Any] = {"B x N": f"{b} x {n}", "way": name}
            pairs = b * n * n * (positive if offset == 0 else 1)
            for words, key, limit in zip(("forward", "forward + backward"), ("forward", "both"), limits, strict=True):
                seconds = found[key]
                row[f"{words}, ms"] = seconds and 1e3 * seconds
                row[f"{words}, of evaluate"] = seconds and first[key] and seconds / first[key]
                row[f"{words}, share of the limit"] = seconds and pairs / seconds / limit
            rows.append(row | {"error": found["error"], "peak, MiB": found["peak"], "remark": found["remark"]})
            save("relu_fit", __doc__, rows, options)
    report("relu_fit", __doc__, rows, options)


if __name__ == "__main__":
    main()
