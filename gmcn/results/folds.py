"""Compares variants by their metrics on the same objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A mean and its standard error; None where there are too few objects for one.
Estimate = tuple[float, float | None]
ERRORS = 2  # standard errors below which a difference counts as none
CLOSE = 1.1  # times that differ by less are the same: machines are not that steady


@dataclass(frozen=True)
class Candidate:
    """The metrics of one variant and its cost; the cost of the trivial rival is None."""

    values: np.ndarray  # [S], of the same objects in the same order as those of all other candidates
    seconds: float | None = None
    parameters: int | None = None


def estimate(values: np.ndarray, labels: np.ndarray | None = None) -> Estimate:  # [S], [S]
    """The mean over objects; with labels the mean over classes of their means, with the stratified standard error.

    Of differences of paired values it is the difference of the means, with the paired standard error.
    """
    groups = [values] if labels is None else [values[labels == label] for label in np.unique(labels)]
    mean = math.fsum(group.mean() for group in groups) / len(groups)
    if min(map(len, groups)) < 2:
        return mean, None
    variances = [group.var(ddof=1) / len(group) for group in groups]
    return mean, math.sqrt(math.fsum(variances)) / len(groups)


def is_worse(difference: Estimate) -> bool:
    """True if a difference is negative by more than its error explains."""
    mean, error = difference
    return error is not None and mean < -ERRORS * error


def verdicts(
    candidates: Sequence[Candidate | None], larger_is_better: bool, labels: np.ndarray | None = None
) -> list[str | None]:
    """The verdict on each candidate: the cheapest of those that are not worse than the best is chosen.

    The cheapest trains in the least time; if times are close, it has the fewest parameters, or comes first. A candidate
    without measurements is None and gets no verdict; a rival is never chosen. If a class has one object alone, there is
    no standard error, and nobody gets a verdict.
    """
    sign = 1 if larger_is_better else -1
    own = [c for c in candidates if c is not None and c.seconds is not None]
    unsure = any(estimate(candidate.values, labels)[1] is None for candidate in own)
    if len(own) < 2 or unsure:  # nothing to choose from, or nothing to choose by
        return [None] * len(candidates)
    best = max(own, key=lambda candidate: sign * estimate(candidate.values, labels)[0])

    def worse(one: Candidate, other: Candidate) -> bool:
        return is_worse(estimate(sign * (one.values - other.values), labels))

    equals = [candidate for candidate in own if not worse(candidate, best)]
    fastest = min(candidate.seconds for candidate in equals)
    chosen = min((c for c in equals if c.seconds <= CLOSE * fastest), key=lambda candidate: candidate.parameters)

    def verdict(candidate: Candidate | None) -> str | None:
        if candidate is None or candidate is chosen:
            return None if candidate is None else "chosen"
        if worse(candidate, best):
            return "worse"
        return "better" if worse(best, candidate) else "no difference"  # better may be a rival alone

    return [verdict(candidate) for candidate in candidates]
