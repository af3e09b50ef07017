"""Two variants compared over two folds, by the workflow, for real."""

from __future__ import annotations

import pytest

from tests.workflow.conftest import Checkout

CONFIG = """
tracking: {enabled: false}
variants:
  smoke: {seeds: [0]}
  smoother: {base: smoke, training: {label_smoothing: 0.1}}
tables:
  folds-digits: {folds: 2, rows: [{variant: smoke}, {variant: smoother}]}
"""
TABLE = "results/tables/folds-digits.md"
TRAININGS = tuple(
    f"results/runs/digits_{variant}-fold{fold}of2/seed0/training.json"
    for variant in ("smoke", "smoother")
    for fold in (1, 2)
)


def test_a_fold_is_trained_by_its_name_and_nothing_is_evaluated(pristine: Checkout):
    assert pristine.plan(TRAININGS[0], config=CONFIG) == {"sample": 1, "fit": 1, "train": 1}
    assert pristine.plan(TABLE, config=CONFIG) == {"table": 1}
    answer = pristine.snakemake("-n", targets=("results/runs/digits_smoke-fold3of2/seed0/training.json",))
    assert answer.status != 0
    assert "'smoke-fold3of2' names fold 3 of 2, which does not exist" in answer.text


@pytest.mark.slow
def test_variants_are_compared(checkout: Checkout):
    answer = checkout.snakemake("--cores", "2", targets=TRAININGS, config=CONFIG)
    assert answer.status == 0, answer.text
    answer = checkout.snakemake("--cores", "2", targets=(TABLE,), config=CONFIG)
    assert answer.status == 0, answer.text
    rows = [line for line in (checkout.folder / TABLE).read_text().splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == ["| smoke", "| smoother", "| nearest neighbour"]
    assert sum("chosen" in row for row in rows) == 1
    assert not list(checkout.folder.rglob("evaluation.json"))
