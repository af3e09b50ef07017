"""The table that compares variants over folds, from what trainings wrote."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from scipy import stats

from gmcn import config
from gmcn.artifacts import save_tensors, write_json
from gmcn.config.tables import fold_file, points_file, table_of
from gmcn.data.folds import fold_of
from gmcn.errors import InputError
from gmcn.results.tables import tabulate
from tests.config.examples import SMALL

FOLDS, COUNT = 2, 40
COLUMNS = [
    *("fold_accuracy", "fold_accuracy_difference", "fold_class_accuracy", "fold_loss", "fold_loss_difference"),
    *("training_seconds", "parameters", "verdict"),
]
LABELS = torch.arange(COUNT) % 4 // 3  # three of one class to one of the other
TABLE = {
    "title": "Folds",
    "kind": "folds",
    "dataset": "digits",
    "folds": FOLDS,
    "columns": COLUMNS,
    "rows": [{"variant": "base"}, {"variant": "child", "label": "the child"}],
}


def table(**changes) -> dict:
    return table_of({**SMALL, "tables": {"mine": {**TABLE, **changes}}}, "mine")


@pytest.fixture
def results(tmp_path):
    """A folder of results in which trainings and points can be written."""

    class Results:
        folder = tmp_path / "results"

        def train(
            self, row: int, right, *, seed: int = 0, seconds: float = 10.0, folds=(1, 2), shown=None, cpu: str = "Xeon"
        ) -> None:
            """Write the trainings of a variant whose network is right about some objects."""
            shown = shown or table()
            for fold in folds:
                _, validation = fold_of(LABELS, fold, FOLDS)
                own = [bool(right[index]) for index in validation.tolist()]
                content = {
                    "seconds": seconds,
                    "parameters": 5,
                    "device": "cpu",
                    "provenance": {"cpu": cpu},
                    "settings": {"training": {"fold": f"{fold} of {FOLDS}"}},
                    "validation": {
                        "names": [f"shape{index}" for index in validation.tolist()],
                        "labels": LABELS[validation].tolist(),
                        "accuracy": own,
                        "loss": [0.25 if one else 1.5 for one in own],
                    },
                }
                path = self.folder / fold_file(shown, shown["rows"][row], fold, seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, content)

        def points(self) -> None:
            """Images that differ by their class, but for one."""
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(COUNT, 4, 4, generator=generator) + 3 * LABELS[:, None, None]
            images[0] += 3
            metadata = {"class_names": ["a", "b"], "names": [f"shape{index}" for index in range(COUNT)]}
            path = self.folder / points_file(table())
            path.parent.mkdir(parents=True, exist_ok=True)
            split = torch.zeros(COUNT, dtype=torch.uint8)
            save_tensors(path, {"images": images, "labels": LABELS, "split": split}, metadata)

        def table(self, **changes) -> tuple[list[dict], list[str]]:
            """Rows by metric, with all digits; and the lines for reading."""
            inputs = [path for path in self.folder.rglob("*") if path.name == "training.json" or "points" in str(path)]
            inputs = [path for path in inputs if path.is_file()]
            output = tmp_path / "tables" / "mine"
            tabulate(table(**changes), inputs=inputs, output=output)
            rows: dict[str, dict] = {}
            for cell in csv.DictReader(output.with_suffix(".csv").open()):
                rows.setdefault(cell["row"], {})[cell["metric"]] = cell
            return list(rows.values()), output.with_suffix(".md").read_text().splitlines()

    return Results()


RANDOM = np.random.default_rng(0)
GOOD, BAD = RANDOM.random(COUNT) < 0.95, RANDOM.random(COUNT) < 0.4


def number(cell: dict, name: str = "ours") -> float:
    return float(cell[name])


def test_differences_are_paired_by_object_with_scipys_error(results):
    results.train(0, GOOD)
    results.train(1, BAD)
    results.points()
    (first, second, rival), lines = results.table()
    assert number(first["fold_accuracy"]) == pytest.approx(100 * GOOD.mean())
    assert number(first["fold_accuracy"], "std") == pytest.approx(100 * stats.sem(GOOD))
    assert first["fold_accuracy_difference"]["ours"] == ""
    change = second["fold_accuracy_difference"]
    assert number(change) == pytest.approx(100 * (BAD.mean() - GOOD.mean()))
    assert number(change) / number(change, "std") == pytest.approx(stats.ttest_rel(1.0 * BAD, 1.0 * GOOD).statistic)
    assert number(second["fold_loss_difference"]) == pytest.approx(1.25 * (GOOD.mean() - BAD.mean()))
    by_class = np.mean([GOOD[LABELS.numpy() == label].mean() for label in (0, 1)])
    assert number(first["fold_class_accuracy"]) == pytest.approx(100 * by_class)
    assert [row["verdict"]["ours"] for row in (first, second)] == ["chosen", "worse"]
    assert number(first["training_seconds"]) == 20
    assert number(rival["fold_accuracy"]) == 100 * (COUNT - 1) / COUNT
    assert rival["fold_loss"]["ours"] == rival["training_seconds"]["ours"] == ""
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][2:] == [
        "| base", "| the child", "| nearest neighbour"
    ]  # fmt: skip
    assert any("The test split is not looked at" in line for line in lines)


def test_what_is_missing_is_empty_and_names_one_command(results):
    results.train(0, GOOD, folds=(1,))
    rows, lines = results.table()
    assert {cell["ours"] for row in rows for cell in row.values()} == {""}
    command = "`snakemake --cores all results/runs/digits_base-fold{1..2}of2/seed0/training.json`"
    assert any(command in line for line in lines)
    assert any("`snakemake --cores all results/points/digits.safetensors`" in line for line in lines)


def test_an_object_is_worth_its_average_over_seeds(results):
    seeds = {"seeds": [0, 3]}
    for seed, right in ((0, GOOD), (3, BAD)):
        results.train(0, right, seed=seed, seconds=10 + seed)
    (first, *_), lines = results.table(**seeds)
    average = (GOOD.astype(float) + BAD) / 2
    assert number(first["fold_accuracy"]) == pytest.approx(100 * average.mean())
    assert number(first["fold_accuracy"], "std") == pytest.approx(100 * stats.sem(average))
    assert number(first["training_seconds"]) == 23
    assert any("seed{0,3}/training.json" in line for line in lines)


def test_among_equals_the_cheaper_is_chosen(results):
    results.train(0, GOOD, seconds=20)
    results.train(1, GOOD)
    (first, second, _), _ = results.table()
    assert [row["verdict"]["ours"] for row in (first, second)] == ["no difference", "chosen"]
    assert (number(second["fold_loss_difference"]), number(second["fold_loss_difference"], "std")) == (0, 0)


def test_times_of_different_devices_do_not_decide(results):
    results.train(0, GOOD, seconds=20)
    results.train(1, GOOD, cpu="EPYC")
    (first, second, _), _ = results.table()
    assert [row["verdict"]["ours"] for row in (first, second)] == ["chosen", "no difference"]
    assert [row["verdict"]["device"] for row in (first, second)] == ["Xeon", "EPYC"]
    for row in (0, 1):  # half of each here, half there
        results.train(row, GOOD, seconds=20 - 10 * row, folds=(1,))
        results.train(row, GOOD, seconds=20 - 10 * row, folds=(2,), cpu="EPYC")
    (first, second, _), _ = results.table()
    assert [row["verdict"]["ours"] for row in (first, second)] == ["chosen", "no difference"]
    assert {row["verdict"]["device"] for row in (first, second)} == {"several"}


def test_trainings_that_do_not_belong_together_are_refused(results):
    results.train(0, GOOD)
    results.train(1, BAD)
    shown = table()
    path = results.folder / fold_file(shown, shown["rows"][1], 2, 0)
    first = results.folder / fold_file(shown, shown["rows"][1], 1, 0)
    path.write_text(first.read_text())
    with pytest.raises(InputError, match="does not belong to a training on fold 2"):
        results.table()
    path.write_text(first.read_text().replace("1 of 2", "2 of 2"))
    with pytest.raises(InputError, match="was judged in two folds"):
        results.table()
    path.write_text(first.read_text().replace("1 of 2", "2 of 2").replace('"shape', '"other'))
    with pytest.raises(InputError, match="the rows of mine are about different objects"):
        results.table()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"columns": ["verdict"]}, "the first column of a table of folds decides"),
        ({"columns": ["fold_accuracy", "accuracy"]}, "cannot be 'accuracy': fold_accuracy and fold_loss"),
        ({"rows": [{"variant": "chid"}]}, "unknown variant 'chid'; did you mean 'child'?"),
        ({"dataset": "digit"}, "unknown data set 'digit'"),
        ({"folds": 1}, "must be at least 2"),
        ({"rows": [{"variant": "base", "paper": {}}]}, "unknown key"),
    ],
)
def test_what_a_comparison_cannot_say_is_refused_in_one_sentence(change, part):
    with pytest.raises(InputError) as error:
        config.check({**SMALL, "tables": {"mine": {**TABLE, **change}}})
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_variants_with_other_folds_are_not_compared():
    child = {"base": "base", "training": {"fold_duplicates": "ignored"}}
    other = {**SMALL, "variants": {**SMALL["variants"], "child": child}}
    with pytest.raises(InputError, match=r"differ in training\.fold_duplicates"):
        table_of({**other, "tables": {"mine": TABLE}}, "mine")
