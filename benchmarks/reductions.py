"""One row for a way to make a mixture of fewer components."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch
from common import progress
from measuring import measure
from torch import Tensor

from gmcn import Mixture, ops

# There is no share of a limit: sorting, trees and dependent merges have none that a machine's data sheet would give.
COLUMNS = """Error: deviation of mass, mean and second moment from those of the given mixture, in float64, relative.
Distance: root mean square of what the values at the given centres change by, over that of the values."""


def measure_reduction(
    name: str,
    way: Callable[..., Mixture],
    inputs: Sequence[Tensor],
    full: Mixture,  # [..., N], what is reduced
    options: Namespace,
) -> dict[str, Any]:
    """Time, rate, memory, conservation and closeness of one way to reduce ``full``."""
    n, mixtures = full.components, full.weights.numel() // full.components
    progress(f"{name}, N = {n}")
    found = measure(way, inputs, None, options)
    row: dict[str, Any] = {"N": n, "way": name}
    for words, key in (("forward", "forward"), ("forward + backward", "both")):
        row[f"{words}, ms"] = found[key] and 1e3 * found[key]
    row["M components/s"] = found["both"] and mixtures * n / found["both"] / 1e6
    reduced = None if found["values"] is None else Mixture(*found["values"])
    row["error"] = None if reduced is None else conservation_error(reduced, full)
    row["distance"] = None if reduced is None else distance(reduced, full)
    return row | {"peak, MiB": found["peak"], "remark": found["remark"]}


def conservation_error(reduced: Mixture, full: Mixture) -> float:
    """The largest error of the zeroth to second moments, each relative to the sum of its terms' magnitudes."""
    errors = []
    for one, other in zip(_terms(reduced), _terms(full), strict=True):
        scale = other.abs().sum(0).clamp(min=1e-30)
        errors.append(((one.sum(0) - other.sum(0)).abs() / scale).max())
    return float(torch.stack(errors).max())  # not Python's max, which may pass over what is not a number


def _terms(mixture: Mixture) -> list[Tensor]:
    """The terms of the moments, components first."""
    weights, positions, covariances = mixture.to("cpu", torch.float64)
    second = covariances + positions[..., :, None] * positions[..., None, :]
    dim = weights.dim() - 1
    terms = (weights, weights[..., None] * positions, weights[..., None, None] * second)
    return [term.movedim(dim, 0) for term in terms]


def distance(reduced: Mixture, full: Mixture) -> float:
    centres = full.positions
    with torch.no_grad():
        before, after = ops.evaluate(full, centres), ops.evaluate(reduced, centres)
    return float((after - before).square().mean().sqrt() / before.square().mean().sqrt())
