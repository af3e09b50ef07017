"""The status of files and jobs, and the last message of a failed workflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gmcn import cli, status
from gmcn.running import claimed
from tests.conftest import ROOT

RUN = "results/runs/digits_smoke"
CONFIG = ["--config", str(ROOT / "config.yaml")]
# As Snakemake's summary has them: in any order, several files of one job, and the reason per file.
SUMMARY = [
    ("results/digits_smoke.json", "summarise", "missing", "update pending"),
    (f"{RUN}/curves.png", "summarise", "missing", "update pending"),
    ("results/points/digits.safetensors", "sample", "ok", "no update"),
    ("results/mixtures/digits_kmeans16.safetensors", "fit", "params changed", "update pending"),
    ("results/mixtures/digits_kmeans16.json", "fit", "ok", "update pending"),
    (f"{RUN}/seed0/model.safetensors", "train", "missing", "update pending"),
    (f"{RUN}/seed0/history.csv", "train", "missing", "update pending"),
    (f"{RUN}/seed1/model.safetensors", "train", "missing", "update pending"),
    (f"{RUN}/evaluation.json", "evaluate_task", "missing", "update pending"),
]


def write(path: str, text: str = "", age: float = 60.0) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (file.stat().st_mtime - age,) * 2)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results in every state there is, of which seed 0 is being trained while the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(status, "_summary", lambda *_: iter(SUMMARY))
    for name in ("points/digits.safetensors", "mixtures/digits_kmeans16.safetensors", "mixtures/digits_kmeans16.json"):
        write(f"results/{name}")
    write(f"{RUN}/seed0/history.csv", "epoch,step\n1,2\n2,4\n")
    write(f"{RUN}/seed1/last.ckpt")
    write("results/logs/train/digits_smoke_seed1.log", "epoch 4 of 9: train loss 0.5\nstopped by SIGTERM\n")
    write("results/logs/evaluate/digits_smoke.log", "reading\ngmcn: error: the disk is full\n")
    with claimed(Path("results/logs/train/digits_smoke_seed0.log")):
        yield


def shown(capsys, *arguments: str) -> str:
    assert cli.main(["status", *arguments, *CONFIG]) == 0
    return capsys.readouterr().out


def test_every_job_is_listed_with_its_state_in_the_order_of_the_stages(results, capsys):
    jobs = json.loads(shown(capsys, "results/digits_smoke.json", "--json"))
    assert [(job["stage"], job["name"], job["state"]) for job in jobs] == [
        ("sample", "digits", "done"),
        ("fit", "digits_kmeans16", "outdated"),
        ("train", "digits_smoke_seed0", "running"),
        ("train", "digits_smoke_seed1", "stopped"),
        ("evaluate", "digits_smoke", "failed"),
        ("summarise", "digits_smoke", "missing"),
    ]
    outdated, running, stopped, failed = jobs[1:5]
    assert outdated["reason"] == "its settings changed"
    assert len(outdated["outputs"]) == 2
    assert (running["epoch"], running["epochs"], running["pid"]) == (2, 1, os.getpid())
    assert (stopped["epoch"], stopped["epochs"]) == (4, 9)
    assert (failed["error"], failed["log"]) == ("the disk is full", "results/logs/evaluate/digits_smoke.log")


def test_a_second_start_that_was_refused_while_a_training_ran_is_not_how_that_ended(results, capsys):
    said = ["epoch 3 of 9: train loss 0.6", "gmcn: error: the job still runs on node17", "epoch 4 of 9: train loss 0.5"]
    write("results/logs/train/digits_smoke_seed1.log", "\n".join(said))
    assert json.loads(shown(capsys, "--json"))[3]["state"] == "stopped"


def test_the_listing_is_plain_lines_where_nobody_looks(results, capsys):
    text = shown(capsys, "results/digits_smoke.json")
    lines = text.splitlines()
    assert "\x1b" not in text
    assert lines[3].split() == ["stopped", "train", "digits_smoke_seed1", "epoch", "4", "of", "9"]
    assert "epoch 2 of 1, since 20" in lines[2]
    assert "the disk is full (log: results/logs/evaluate/digits_smoke.log)" in lines[4]
    assert lines[-2] == "1 done, 1 outdated, 1 running, 1 stopped, 1 failed, 1 missing"
    assert lines[-1].startswith("make the rest with: snakemake --cores all results/digits_smoke.json --configfile")


def test_what_was_made_a_moment_ago_is_done_though_snakemake_has_not_noted_it(results, capsys):
    for name in ("safetensors", "json"):
        write(f"results/mixtures/digits_kmeans16.{name}", age=-60)  # a minute ahead: however slow the machine is
    assert json.loads(shown(capsys, "--json"))[1]["state"] == "done"


def test_an_unknown_target_is_told_with_the_closest(results, capsys):
    assert cli.main(["status", "results/digit_smoke.json", *CONFIG]) == 2
    assert "unknown data set 'digit'; did you mean 'digits'?" in capsys.readouterr().err


def test_no_torch_is_loaded_for_it():
    code = "import gmcn.status, gmcn.commands, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


SNAKEMAKE_LOG = """\
Error in rule fit:
    message: None
    jobid: 2
    log: results/logs/fit/digits_kmeans16.log (check log file(s) for error details)
[Sat Nov 21 10:28:28 2026]
Finished jobid: 2 (Rule: fit)
Error in rule train:
    message: None
    jobid: 3
    input: results/mixtures/digits_kmeans16.safetensors
    log: results/logs/train/digits_smoke_seed0.log (check log file(s) for error details)
    shell:
        python -m gmcn train

Error in rule probe:
    jobid: 4
    log: results/logs/probe/digits_smoke.log (check log file(s) for error details)
"""


def test_a_failed_workflow_ends_with_sentence_log_and_command(results):
    write("snakemake.log", SNAKEMAKE_LOG)
    write("results/logs/train/digits_smoke_seed0.log", "epoch 1 of 9\ngmcn: error: loss is not finite\n")
    write("results/logs/probe/digits_smoke.log", "half way\n")
    assert status.farewell(["snakemake.log"], ["--cores", "all", "results/digits smoke.json"]).splitlines() == [
        "train failed: loss is not finite",
        "  log: results/logs/train/digits_smoke_seed0.log",
        "probe failed: it was killed or crashed after 'half way'",
        "  log: results/logs/probe/digits_smoke.log",
        "What is finished is kept. Continue with: snakemake --cores all 'results/digits smoke.json'",
    ]


def test_a_stopped_workflow_says_how_to_go_on(tmp_path):
    (tmp_path / "log").write_text("Terminating processes on user request\n")
    assert status.farewell([str(tmp_path / "log")], ["-c1"]).startswith("The workflow was stopped.")
