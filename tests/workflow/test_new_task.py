"""A task is one folder of two files: the rest of the workflow trains, evaluates, tables and tracks it as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout

TASK = Path(__file__).parent / "elongation"
RESULT = "results/solids10_longish.json"
TABLE = "results/tables/lengths.md"
CONFIG = """
datasets: {solids10: {train_per_class: 3, test_per_class: 1, points: 64}}
variants:
  longish:
    task: elongation
    fit: null
    seeds: [0]
    network: {kind: pointnet}
    training: {epochs: 1, batch_size: 8, early_batches: 3, warmup_epochs: 0, validation_fraction: 0.3}
tables:
  lengths: {title: Lengths, dataset: solids10, columns: [error, rival, parameters], rows: [{variant: longish}]}
"""


def with_task(checkout: Checkout) -> Checkout:
    """What adds a task, and no other file is touched."""
    shutil.copytree(TASK, checkout.folder / "gmcn/tasks/elongation", ignore=shutil.ignore_patterns("__pycache__"))
    return checkout


def test_one_folder_is_trained_evaluated_drawn_tabled_tracked_and_answers(checkout: Checkout):
    answer = with_task(checkout).snakemake("--cores", "2", targets=(RESULT, TABLE), config=CONFIG)
    assert answer.status == 0, answer.text
    results = checkout.folder / "results"
    result = json.loads((checkout.folder / RESULT).read_text())
    print(json.dumps(result)[:6000])
    print((checkout.folder / TABLE).read_text())
