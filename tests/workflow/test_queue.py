"""`make queue` makes results in their order, and a failed one does not keep the others from being made."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from gmcn.config import load
from tests.conftest import ROOT


@pytest.fixture
def queue(tmp_path):
    """What ``make queue`` says and ends with where Snakemake fails for results that are called bad."""
    # A plan fails only where a name is misspelt.
    fails = '"-n "*misspelt*) exit 1;; "-n "*);; *bad.json) exit 1;;'
    (tmp_path / "snakemake").write_text(f'#!/bin/sh\necho "snakemake $*"\ncase "$*" in {fails} esac\n')
    (tmp_path / "snakemake").chmod(0o755)

    def run(*variables, goal="queue"):
        # All that make would build first is said to be there.
        command = [
            "make",
            "--no-print-directory",
            "--old-file=.venv/.installed",
            f"BIN={os.path.relpath(tmp_path, ROOT)}",
            *variables,
            goal,
        ]
        command.append("INSTALLED=.venv/.installed")
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return run


def test_one_after_the_other_whatever_fails(queue):
    answer = queue("QUEUE=digits_one digits_bad digits_two", "RESULTS=elsewhere")
    made = [line.split()[-1] for line in answer.stdout.splitlines() if line.startswith("snakemake --cores")]
    assert made == ["elsewhere/digits_one.json", "elsewhere/digits_bad.json", "elsewhere/digits_two.json"]
    assert answer.stdout.count(" --config results=elsewhere ") == 1 + len(made)  # with the plan
    assert answer.returncode != 0
    assert "failed: elsewhere/digits_bad.json" in answer.stderr
    assert queue("QUEUE=digits_one").returncode == 0


def test_a_configuration_that_cannot_be_read_is_an_error(queue, tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    answer = queue()
    assert answer.returncode != 0
    assert "broken" in answer.stderr


def test_the_queue_of_an_overlay_wins(queue, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("queue: [digits_mlp]")
    answer = queue(f"ARGS=--configfile {overlay} --config tracking={{}}")
    assert re.findall(r"== (\S+)", answer.stdout) == ["results/digits_mlp.json"], answer.stderr
    overlay.write_text("queue: [digits]")
    answer = queue(f"ARGS=--configfile {overlay}")
    assert answer.returncode != 0
    assert "Traceback" not in answer.stderr


def test_options_with_several_values_do_not_swallow_the_target(queue):
    answer = queue("ARGS=--configfile mine.yaml", goal="run")
    assert answer.stdout.startswith("snakemake --cores all --configfile mine.yaml -- results/digits_treehem2.json\n")


def test_a_misspelt_name_stops_it_before_hours_of_trainings(queue):
    answer = queue("QUEUE=digits_one digits_misspelt", "ARGS=--configfile mine.yaml")
    assert answer.returncode != 0
    [planned] = [line for line in answer.stdout.splitlines() if line.startswith("snakemake")]
    assert "-n " in planned
    assert "--configfile mine.yaml " in planned


def test_it_has_one_core_unless_more_are_given(queue):
    assert "--cores 1 " in queue("QUEUE=digits_one").stdout
    assert "--cores 2 " in queue("QUEUE=digits_one", "CORES=2").stdout


def test_every_result_of_the_queue_can_be_made(pristine):
    answer = pristine.snakemake("-n", "--quiet", targets=("queue",))
    assert answer.status == 0, answer.text
    assert load(ROOT / "config.yaml")["queue"]
