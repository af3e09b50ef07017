"""Numbers over the seeds of a variant."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any


def over_seeds(results: Sequence[Any]) -> tuple[Any, Any]:
    """Mean and standard deviation (unbiased) of results of equal structure, number by number.

    Strings must agree and stay; where any seed has None there is None. The deviation of one seed is None.
    """
    first = results[0]
    if isinstance(first, dict):
        pairs = {key: over_seeds([result[key] for result in results]) for key in first}
        return tuple({key: pair[index] for key, pair in pairs.items()} for index in (0, 1))
    if isinstance(first, list):
        pairs = [over_seeds(list(items)) for items in zip(*results, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if isinstance(first, str):
        return first, first
    if any(value is None for value in results):
        return None, None
    return statistics.fmean(results), statistics.stdev(results) if len(results) > 1 else None


def finite_or_none(value: float) -> float | None:
    """The number, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
