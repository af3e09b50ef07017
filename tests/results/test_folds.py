"""Estimates against numpy and scipy, and what is chosen by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gmcn.results.folds import Candidate, estimate, is_worse, verdicts

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [40, 10, 5])
FIRST = RANDOM.random(len(LABELS))


def test_the_mean_has_scipys_standard_error():
    mean, error = estimate(FIRST)
    assert mean == pytest.approx(FIRST.mean(), rel=1e-14)
    assert error == pytest.approx(stats.sem(FIRST), rel=1e-14)


def test_a_paired_difference_has_the_error_of_the_paired_test():
    second = FIRST + 0.1 * RANDOM.random(len(LABELS))
    mean, error = estimate(second - FIRST)
    assert mean / error == pytest.approx(stats.ttest_rel(second, FIRST).statistic, rel=1e-12)
    assert error < estimate(FIRST)[1] / 5  # what pairing is for


def test_class_averages_are_stratified_estimates():
    """Of classes with equal weights."""
    mean, error = estimate(FIRST, LABELS)
    groups = [FIRST[label == LABELS] for label in range(3)]
    assert mean == pytest.approx(np.mean([group.mean() for group in groups]), rel=1e-14)
    assert error == pytest.approx(math.sqrt(sum(stats.sem(group) ** 2 for group in groups)) / 3, rel=1e-14)


def test_the_stratified_error_is_the_spread_of_repeated_draws():
    draws = [estimate(RANDOM.normal(LABELS, 1 + LABELS), LABELS) for _ in range(4000)]
    means, errors = np.array(draws).T
    assert means.std(ddof=1) == pytest.approx(math.sqrt(np.square(errors).mean()), rel=0.05)


def test_one_object_of_a_class_has_no_error():
    assert estimate(np.array([1.0])) == (1.0, None)
    assert estimate(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1])) == (0.75, None)
    assert not is_worse((-1.0, None))


def test_two_standard_errors_make_a_difference():
    assert is_worse((-0.021, 0.01))
    assert not is_worse((-0.02, 0.01))
    assert not is_worse((0.0, 0.0))


def candidate(*wrong: int, seconds: float | None = 100.0, parameters: int | None = 10) -> Candidate:
    """One that is wrong about some of a hundred objects."""
    values = np.ones(100)
    values[list(wrong)] = 0
    return Candidate(values, seconds, parameters)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([candidate(*range(30)), candidate(*range(10))], ["worse", "chosen"]),
        ([candidate(0, 1, 2), candidate(2, 3)], ["chosen", "no difference"]),  # of equals the first
        ([candidate(0, 1, 2), candidate(2, 3, seconds=50)], ["no difference", "chosen"]),
        ([candidate(0, 1), candidate(2, 3, 4, seconds=95, parameters=11)], ["chosen", "no difference"]),
        ([candidate(0, 1), candidate(2, 3, 4, seconds=108, parameters=9)], ["no difference", "chosen"]),
        ([candidate(*range(30), seconds=1), candidate()], ["worse", "chosen"]),
        ([candidate(), None, candidate(*range(50))], ["chosen", None, "worse"]),
        ([candidate(), None], [None, None]),
        ([candidate(0), candidate(1), candidate(*range(40), seconds=None)], ["chosen", "no difference", "worse"]),
        ([candidate(0), candidate(1), candidate(2, seconds=None)], ["chosen", "no difference", "no difference"]),
        ([candidate(*range(9)), candidate(*range(9)), candidate(seconds=None)], ["chosen", "no difference", "better"]),
    ],
)
def test_the_cheapest_of_the_best_is_chosen(candidates, expected):
    assert verdicts(candidates, larger_is_better=True) == expected


def test_smaller_may_be_better_and_classes_may_count_alike():
    labels = np.array([0] * 90 + [1] * 10)
    common, rare = candidate(*range(12)), candidate(*range(90, 98))
    assert verdicts([common, rare], larger_is_better=True, labels=labels) == ["chosen", "worse"]
    losses = [Candidate(-one.values, one.seconds, one.parameters) for one in (common, rare)]
    assert verdicts(losses, larger_is_better=False, labels=labels) == ["chosen", "worse"]


def test_nobody_is_chosen_where_a_class_has_one_object_alone():
    good, bad = Candidate(np.ones(5), 2.0, 1), Candidate(np.zeros(5), 1.0, 1)
    assert verdicts([good, bad], True, np.array([0, 0, 0, 0, 1])) == [None, None]
    assert verdicts([good, bad], True, np.array([0, 0, 0, 1, 1])) == ["chosen", "worse"]
