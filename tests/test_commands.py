"""The commands that make tables and figures, as somebody types them."""

from __future__ import annotations

import csv
import json
import shlex

import pytest

from gmcn.artifacts import write_json
from gmcn.cli import main
from tests.conftest import ROOT

CONFIG = ("--config", str(ROOT / "config.yaml"))


def test_a_table_is_made_of_what_lies_in_the_results(tmp_path):
    found = {"dataset": "modelnet10", "variant": "paper", "accuracy": {"mean": 0.93, "std": None, "seeds": {"0": 0.93}}}
    write_json(tmp_path / "modelnet10_paper.json", found)
    assert main(["table", "--name", "table9", "--results", str(tmp_path), *CONFIG]) == 0
    with open(tmp_path / "tables/table9.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert [row["ours"] for row in rows] == ["93.0", *[""] * 6]
    assert rows[1]["command"] == f"snakemake --cores all {tmp_path}/modelnet10_paper-g64.json"


def test_the_command_of_an_empty_row_is_one_that_a_shell_reads(tmp_path):
    results = tmp_path / "my results"
    assert main(["table", "--name", "table9", "--results", str(results), *CONFIG]) == 0
    with open(results / "tables/table9.csv") as file:
        command = next(csv.DictReader(file))["command"]
    assert shlex.split(command) == ["snakemake", "--cores", "all", f"{results}/modelnet10_paper.json"]


def test_given_inputs_are_shown_and_no_others(tmp_path):
    write_json(tmp_path / "modelnet10_paper.json", {"dataset": "modelnet10", "variant": "paper"})
    arguments = ["table", "--name", "table4", "--results", str(tmp_path), "--inputs", "--maker", "make"]
    assert main([*arguments, *CONFIG]) == 0
    assert f"`make {tmp_path}/modelnet10_paper.json`" in (tmp_path / "tables/table4.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["table", "--name", "table99"], "unknown table 'table99'; did you mean"),
        (["draw-figure", "--name", "figure1"], "unknown figure 'figure1'; did you mean"),
        (["draw-results", "--name", "dcgmm-figure1"], "unknown figure 'dcgmm-figure1'; did you mean"),
        (["draw-results", "--name", "dcgmm-figure6"], "mnist_dcgmm-2lc/seed0/model.safetensors does not exist; make"),
        (["draw-figure", "--name", "figure2"], "seed0/model.safetensors does not exist; make it with `snakemake"),
    ],
)
def test_what_does_not_exist_is_one_sentence(tmp_path, capsys, arguments, part):
    assert main([*arguments, "--results", str(tmp_path), *CONFIG]) == 2
    assert part in capsys.readouterr().err


def test_least_squares_goes_where_its_table_looks(tmp_path):
    settings = json.dumps({"mixtures": 2, "components": 8})
    arguments = ["least-squares", "--settings", settings, "--results", str(tmp_path), "--device", "cpu"]
    assert main([*arguments, *CONFIG]) == 0
    assert main(["table", "--name", "table7", "--results", str(tmp_path), *CONFIG]) == 0
    assert "snakemake" not in (tmp_path / "tables/table7.md").read_text()
