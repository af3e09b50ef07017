"""The table of a data set: every result in its row, beside the published value."""

from __future__ import annotations

import csv

import pytest

from gmcn.analysis.tables import tabulate
from gmcn.artifacts import write_json
from gmcn.errors import InputError

ROWS = [{"variant": "small"}, {"variant": "treehem2", "paper": 0.9278, "source": "table 9"}]


@pytest.fixture
def results(tmp_path):
    paths = []
    for variant, deviation in (("small", None), ("treehem2", 0.0125)):
        path = tmp_path / f"digits_{variant}.json"
        result = {
            "dataset": "digits",
            "variant": variant,
            "fit": "kmeans16",
            "parameters": 216840,
            "accuracy": {"mean": 0.98765, "std": deviation, "seeds": {"0": 0.98765, "1": 0.98765}},
            "seconds": {"training": {"mean": 61.4}},
        }
        write_json(path, result)
        paths.append(path)
    return paths


def test_a_row_per_result_for_reading_and_for_machines(results, tmp_path):
    tabulate("digits", rows=ROWS, summaries=results, output=tmp_path / "tables" / "digits")
    text = (tmp_path / "tables/digits.md").read_text()
    assert "| small | kmeans16 | 216,840 | 98.77 |  |  | 61 |" in text
    assert "| treehem2 | kmeans16 | 216,840 | 98.77 ± 1.25 (2 seeds) | 92.78 | table 9 | 61 |" in text
    with open(tmp_path / "tables/digits.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["accuracy"] for row in rows] == ["0.98765", "0.98765"]
    assert [row["paper"] for row in rows] == ["", "0.9278"]


def test_a_result_in_the_wrong_row_is_refused(results, tmp_path):
    with pytest.raises(InputError, match="is the result of treehem2 on digits, but the table wants small on digits"):
        tabulate("digits", rows=ROWS, summaries=results[::-1], output=tmp_path / "digits")


def test_rows_and_results_must_be_as_many(results, tmp_path):
    with pytest.raises(InputError, match="2 rows, but 1 results"):
        tabulate("digits", rows=ROWS, summaries=results[:1], output=tmp_path / "digits")
