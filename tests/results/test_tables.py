"""Tables from results, all of them or some: for reading, for machines and for TeX."""

from __future__ import annotations

import csv
import io

import pytest

from gmcn import config
from gmcn.artifacts import write_json
from gmcn.errors import InputError
from gmcn.results.metrics import column
from gmcn.results.reading import read_result
from gmcn.results.tables import tabulate
from tests.config.examples import REAL

PAPER, EM = "paper", "paper-treehem4"
TABLE = {
    "name": "mine",
    "title": "100 % of T & U",
    "kind": "results",
    "tasks": ["classification"],
    "columns": ["validation2", "accuracy", "rmse1-all", "kernels", "parameters"],
    "rows": [
        {
            "label": "1/128 → classes",
            "dataset": "modelnet10",
            "variant": PAPER,
            "paper": {"accuracy": 92.0, "kernels": 88, "validation2": 90.5},
        },
        {"label": "T | 4", "dataset": "modelnet10", "variant": EM, "paper": {"accuracy": "n/a"}},
    ],
    "notes": ["A note."],
}


def result(variant: str, accuracies: list[float], dataset: str = "modelnet10") -> dict:
    """The part of a result's JSON that tables read."""
    seeds = [str(seed) for seed in range(len(accuracies))]
    spread = 0.01 if len(seeds) > 1 else None
    layer = {kind: {"rmse": 1.0, "standardised": 0.5} for kind in ("all", "relu", "reduction")}
    deviation = {kind: {"rmse": spread, "standardised": spread} for kind in ("all", "relu", "reduction")}
    return {
        "dataset": dataset,
        "variant": variant,
        "accuracy": {
            "mean": sum(accuracies) / len(seeds),
            "std": spread,
            "seeds": dict(zip(seeds, accuracies, strict=True)),
        },
        "per_class": {"mean": [0.5] * 10},
        "history": {seed: {"validation_accuracy": [0.5, 0.25 + 0.5 * int(seed)]} for seed in seeds},
        "rmse": {"layers": [layer], "std": [deviation]},
        "parameters": 5740,
        "seconds": {"training": {"mean": 90.0, "std": spread}},
        "settings": {"network": {"layers": [[8, 64]]}},
        "training": {seed: {"peak_memory": {"bytes": 2**31}, "device": "cuda:0"} for seed in seeds},
        "provenance": {"train": {seed: {"cpu": "Xeon", "gpu": "H100"} for seed in seeds}},
        "footprint": {
            "theory": {"fused": {"layers": [{"N_i": 128, "G": 10, "bytes": 400}]}},
            "measured": {"bytes": 3 * 2**20},
        },
    }


@pytest.fixture
def made(tmp_path):
    """Writes results and the table of them; gives the lines of the .md, the rows of the .csv, the .tex."""

    def make(*results: dict, table: dict = TABLE):
        paths = [tmp_path / f"{index}.json" for index in range(len(results))]
        for path, content in zip(paths, results, strict=True):
            write_json(path, content)
        tabulate(table, inputs=paths, output=tmp_path / "tables" / "mine")
        text = {form: (tmp_path / f"tables/mine.{form}").read_text() for form in ("md", "csv", "tex")}
        return text["md"].splitlines(), list(csv.DictReader(io.StringIO(text["csv"]))), text["tex"]

    return make


def test_a_full_table_for_reading(made):
    lines, _, _ = made(result(EM, [0.9]), result(PAPER, [0.93, 0.91]))  # in any order
    assert lines[0] == "# 100 % of T & U"
    assert lines[2].startswith("|  | accuracy after 2 epochs (%) | test accuracy (%) | RMSE all, layer 1 | kernels |")
    assert lines[4] == (
        "| 1/128 → classes | 50.00 ± 35.36 (90.5, −40.50) | 92.00 ± 1.00 (92.0, +0.00) | 0.5000 ± 0.0100 | 88 (88, +0) "
        "| 5,740 | 1.5 ± 0.0 | 2.00 ± 0.00 | H100 | modelnet10_paper.json (2 seeds) |"
    )
    assert lines[5] == (
        "| T \\| 4 | 25.00 | 90.00 (n/a) | 0.5000 | 88 | 5,740 | 1.5 | 2.00 | H100 | modelnet10_paper-treehem4.json |"
    )
    assert "A note." in lines
    assert any("validation split" in line for line in lines)


@pytest.mark.parametrize("name", ["mine", "mine.md", "mine.csv"])
def test_one_of_the_files_may_be_named(tmp_path, name):
    tabulate(TABLE, inputs=[], output=tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "mine.html", "mine.md", "mine.tex"]


def test_the_page_of_the_report_says_the_same_and_needs_no_network(made, tmp_path):
    made(result(EM, [0.9]), result(PAPER, [0.93, 0.91]))
    page = (tmp_path / "tables/mine.html").read_text()
    assert "<h1>100 % of T &amp; U</h1>" in page
    assert "<td>1/128 → classes</td><td>50.00 ± 35.36 (90.5, −40.50)</td>" in page
    assert "<p>A note.</p>" in page
    assert "//" not in page


def test_cells_for_machines_have_all_digits(made):
    _, rows, _ = made(result(PAPER, [0.93, 0.91]))
    assert len(rows) == 2 * 5
    [accuracy] = [row for row in rows if row["metric"] == "accuracy" and row["row"] == "1/128 → classes"]
    assert float(accuracy["ours"]) == pytest.approx(92.0)
    assert float(accuracy["std"]) == pytest.approx(1.0)
    assert (accuracy["seeds"], accuracy["minutes"], accuracy["gib"], accuracy["device"]) == ("2", "1.5", "2.0", "H100")
    assert accuracy["command"] == ""


def test_seeds_of_different_devices_name_none(made):
    mixed = result(PAPER, [0.93, 0.91])
    mixed["provenance"]["train"]["1"]["gpu"] = "V100"
    lines, _, _ = made(mixed)
    assert lines[4].split(" | ")[-2] == "several"


def test_what_has_not_been_run_is_empty_and_names_its_command(made):
    lines, rows, _ = made(result(PAPER, [0.93]))
    assert lines[5] == (
        "| T \\| 4 |  | (n/a) |  |  |  |  |  |  | `snakemake --cores all results/modelnet10_paper-treehem4.json` |"
    )
    [missing] = [row for row in rows if row["metric"] == "accuracy" and row["row"] == "T | 4"]
    assert (missing["ours"], missing["difference"]) == ("", "")
    assert missing["command"].endswith("results/modelnet10_paper-treehem4.json")
    lines, rows, _ = made()
    assert lines[4].startswith("| 1/128 → classes | (90.5) | (92.0) |  | (88) |  | `snakemake")
    assert all(row["ours"] == "" for row in rows)


def test_what_skips_a_layer_makes_more_kernels(made):
    skipping = result(PAPER, [0.9])
    skipping["settings"]["network"] = {"layers": [[2, 4], [3, 2]], "skip": True}
    [cell] = [row for row in made(skipping)[1] if row["metric"] == "kernels" and row["row"] == "1/128 → classes"]
    assert float(cell["ours"]) == 1 * 2 + (1 + 2) * 3 + (1 + 2 + 3) * 10


@pytest.mark.parametrize(("given", "last"), [({}, 32), ({"head_channels": 5}, 5)])
def test_a_head_has_channels_of_its_own(made, given, last):
    headed = result(PAPER, [0.9])
    headed["settings"]["network"] = {"layers": [[2, 4], [3, 2]], "head": "fc", **given}
    [cell] = [row for row in made(headed)[1] if row["metric"] == "kernels" and row["row"] == "1/128 → classes"]
    assert float(cell["ours"]) == 1 * 2 + 2 * 3 + 3 * last


def test_tex_is_escaped_and_every_line_has_as_many_cells(made):
    _, _, tex = made(result(PAPER, [0.93, 0.91]))
    assert (
        r"\caption{100 \% of T \& U. Ours (paper, difference); $\pm$ is the standard deviation over seeds. A note."
        in tex
    )
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 3
    assert {line.replace(r"\&", "").count("&") for line in body} == {9}
    assert r"1/128 $\rightarrow$ classes" in tex
    assert r"modelnet10\_paper.json" in tex
    assert r"92.00 $\pm$ 1.00" in tex
    assert tex.isascii()


def test_older_results_leave_cells_empty(made):
    old = result(PAPER, [0.93])
    for key in ("history", "rmse", "training", "per_class"):
        del old[key]
    lines, _, _ = made(old)
    assert lines[4].startswith("| 1/128 → classes | (90.5) | 93.00 (92.0, +1.00) |  | (88) | 5,740 |")


def test_an_epoch_that_was_not_reached_is_empty():
    assert column("validation3").read(result(PAPER, [0.9])) == (None, None)


def test_a_result_that_the_table_does_not_show_is_refused(made):
    with pytest.raises(InputError, match="is the result of paper on digits, which mine does not show"):
        made(result(PAPER, [0.9], dataset="digits"))


@pytest.mark.parametrize("name", ["table5", "table6"])
def test_footprints_are_the_papers(made, name):
    shown = config.tables.table_of(REAL, name)
    paper = result("paper", [0.9])
    paper["settings"]["network"]["layers"] = [[8, 64], [16, 32], [32, 16], [64, 8]]
    _, rows, _ = made(paper, table=shown)
    compared = [row for row in rows if row["paper"]]
    assert len(compared) == 5 * 5 + 1
    for row in compared:
        close = 0.5 if row["row"] == "all" else 0.006
        assert float(row["ours"]) == pytest.approx(float(row["paper"]), abs=close), row
    [measured] = [row for row in rows if row["row"] == "measured step" and row["metric"] == "mib3d"]
    assert float(measured["ours"]) == 3.0
    totals = {row["metric"]: row["ours"] for row in rows if row["row"] == "all"}
    assert (totals["gaussians"] == "434256") == (name == "table5")
    assert f"{float(totals['mib3d']):.1f}" == ("16.6" if name == "table5" else "781.4")
    lines, _, _ = made(table=shown)
    assert "snakemake --cores all results/modelnet10_paper.json" in "\n".join(lines)
    _, rows, _ = made(result("paper", [0.9]), table=shown)  # of another network
    assert {row["ours"] for row in rows if row["row"] == "measured step"} == {""}


def test_least_squares(made):
    shown = config.tables.table_of(REAL, "table7")
    lines, _, _ = made(table=shown)
    assert lines[4] == (
        "| pinv, D = B | (10.2) |  |  | `snakemake --cores all results/measurements/least-squares.json` |"
    )
    entry = {"solver": "heuristic", "positions": "centres", "seconds": 0.5, "rmse": 0.1, "standardised_rmse": 0.3}
    lines, _, _ = made({"device": "Xeon", "entries": [entry]}, table=shown)
    [last] = [line for line in lines if line.startswith("| heuristic")]
    assert last.startswith("| heuristic | 0.5000 (0.0038, +0.4962) | 0.1000 | 0.3000 | Xeon | measurements/")
    lines, _, _ = made({"device": "Xeon", "settings": {"mixtures": 16}, "entries": [entry]}, table=shown)
    [last] = [line for line in lines if line.startswith("| heuristic")]
    assert last.startswith("| heuristic (16 mixtures) | 0.5000 (0.0038) | 0.1000")


def test_memory_of_a_training_on_the_cpu_is_that_of_a_step(tmp_path):
    """The resident memory of a process is mostly Python's and torch's."""
    path = tmp_path / "result.json"
    write_json(path, result(PAPER, [0.9]))
    trained = read_result(path)
    assert column("gib").read(trained) == (2.0, None)
    trained["training"]["0"]["peak_memory"]["kind"] = "resident"
    assert column("gib").read(trained) == (3 / 1024, None)


@pytest.mark.parametrize("name", REAL["tables"])
def test_every_table_of_the_configuration_can_be_made_from_nothing(made, name):
    shown = config.tables.table_of(REAL, name)
    lines, rows, tex = made(table=shown)
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(shown["rows"])
    assert len({line.count("|") for line in table}) == 1
    assert len(rows) == len(shown["rows"]) * len(shown["columns"])
    assert tex.count("{") == tex.count("}")
