"""Whole training steps.

The task: one step (forward, backward, Adam, kernel decay) of the paper's five-layer network for ModelNet10, on random
mixtures of 128 Gaussians.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from common import arguments, random_mixture, report, seconds_of

from gmcn.analysis.footprint_theory import theoretical_footprint
from gmcn.analysis.measured_memory import peak_of_allocations, training_step

NETWORK = {"layers": [[8, 64], [16, 32], [32, 16], [64, 8]], "classes": 10, "dim": 3, "seed": 0}


def measure(batch: int, options: Namespace) -> dict[str, Any]:
    mixture = random_mixture(batch, 128)
    mixture = mixture._replace(weights=mixture.weights.abs())
    step = training_step(NETWORK, mixture, torch.arange(batch) % 10)
    seconds = seconds_of(step, options)
    peak = peak_of_allocations(step)
    minimum = theoretical_footprint(NETWORK, components=128, batch_size=batch, fused=False)["bytes"]
    return {
        "batch": batch,
        "seconds": seconds,
        "peak, MiB": peak / 2**20,
        "unfused minimum, MiB": minimum / 2**20,
        "ratio": peak / minimum,
    }


def main() -> None:
    options = arguments(__doc__)
    report("train_step", __doc__.split("\n\n")[1].replace("\n", " "), [measure(4, options)], options)


if __name__ == "__main__":
    main()
