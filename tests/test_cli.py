"""The commands: what they hand to the stages, what they print, how they end."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time
from importlib import metadata

import pytest
import torch
import yaml

from gmcn import cli, config, console
from gmcn.artifacts import load_tensors, write_text
from gmcn.running import claimed
from gmcn.stages import OTHERS, STAGES
from gmcn.status import was_asked_to_leave
from gmcn.training import errors
from tests.conftest import ROOT

CONFIG = ["--config", str(ROOT / "config.yaml"), "--tracking", "off"]
SOLIDS = json.dumps(
    {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 64, "sampling": "uniform", "seed": 1}
)


@pytest.fixture
def handed_over(monkeypatch, tmp_path):
    """Runs a command with its stage replaced, and gives what the stage would have been called with."""
    monkeypatch.chdir(tmp_path)

    def run(stage: str, function: str, *arguments: str) -> dict:
        calls = {}

        def record(*positional, **named):
            calls.update(named, positional=positional)
            if "run" not in named:
                raise AssertionError("a stage is given its tracking run")

        monkeypatch.setattr(function, record)
        assert cli.main([stage, *arguments, *CONFIG]) == 0
        return calls

    return run


def test_sample_and_fit_from_the_configuration_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sample", "--dataset", "solids10", "--settings", SOLIDS, *CONFIG]) == 0
    assert cli.main(["fit", "--dataset", "solids10", "--fit", "kmeans16", *CONFIG, "--log", "fit.log"]) == 0
    tensors, metadata = load_tensors("results/mixtures/solids10_kmeans16.safetensors")
    assert tensors["weights"].shape == (30, 16)
    assert metadata["settings"] == config.fit(config.load(ROOT / "config.yaml"), "kmeans16")
    assert metadata["run_id"] is None


def test_settings_given_as_json_need_no_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no config.yaml here
    arguments = ["sample", "--dataset", "mine", "--settings", SOLIDS, "--results", "out", "--tracking", "off"]
    assert cli.main(arguments) == 0
    assert (tmp_path / "out/points/mine.safetensors").is_file()


def test_points_that_are_not_there_are_one_sentence(tmp_path, monkeypatch, capsys):
    """Also where training.views has them read first."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "mixtures.safetensors", "")
    given = ["--settings", '{"training": {"views": {"points": 20}}}', "--input", "mixtures.safetensors"]
    arguments = ["train", "--dataset", "d", "--variant", "v", "--seed", "0", *given, "--points", "wrong.safetensors"]
    assert cli.main([*arguments, "--results", "out", "--tracking", "off"]) == 2
    assert capsys.readouterr().err.startswith("gmcn: error: wrong.safetensors does not exist; make it with")


def test_train_is_given_its_slice_and_default_paths(handed_over, tmp_path):
    write_text(tmp_path / "results/mixtures/digits_kmeans16.safetensors", "")
    calls = handed_over(
        "train", "gmcn.training.train", "--dataset", "digits", "--variant", "smoke", "--seed", "3", "--device", "cpu"
    )
    assert str(calls["positional"][0]) == "results/mixtures/digits_kmeans16.safetensors"
    assert str(calls["output"]) == "results/runs/digits_smoke/seed3"
    assert set(calls["settings"]) == {"network", "training"}
    assert (calls["seed"], calls["device"]) == (3, "cpu")


def test_stages_after_a_training_without_a_fit_are_given_the_points(handed_over, tmp_path):
    raw = "variants: {raw: {base: smoke, seeds: [0], fit: null, network: {kind: pointnet}}}"
    (tmp_path / "raw.yaml").write_text(raw)
    arguments = (
        "--dataset",
        "digits",
        "--variant",
        "raw",
        "--config",
        str(ROOT / "config.yaml"),
        "--config",
        "raw.yaml",
    )
    calls = handed_over("footprint", "gmcn.results.footprint", *arguments)
    assert str(calls["positional"][0]) == "results/points/digits.safetensors"
    assert str(calls["output"]) == "results/runs/digits_raw/footprint.json"
    gathered = str(handed_over("summarise", "gmcn.results.summarise", *arguments))
    assert "footprint.json" in gathered
    assert "rmse.json" not in gathered  # nobody has measured it
    whole = str(handed_over("summarise", "gmcn.results.summarise", *arguments[:2], "--variant", "smoke"))
    assert "rmse.json" in whole
    given = str(handed_over("summarise", "gmcn.results.summarise", *arguments, "--rmse", "mine.json"))
    assert "mine.json" in given


def test_sample_is_given_its_threads(handed_over):
    arguments = ("sample", "gmcn.data.sample", "--dataset", "digits")
    assert handed_over(*arguments, "--threads", "3")["threads"] == 3
    assert handed_over(*arguments)["threads"] == os.cpu_count()


def test_download_of_one_file(handed_over):
    calls = handed_over("download", "gmcn.data.download", "--dataset", "mnist", "--file", "t10k-labels-idx1-ubyte.gz")
    assert [file["name"] for file in calls["settings"]["files"]] == ["t10k-labels-idx1-ubyte.gz"]
    assert str(calls["output"]) == "results/datasets/mnist"


def test_addresses_that_no_command_line_shows_come_from_the_environment(handed_over, monkeypatch):
    monkeypatch.setenv("GMCN_ADDRESSES", json.dumps({"mine/a.npz": "https://anna:s3cret@host/a.npz", "x/b": "no"}))
    files = [{"name": "a.npz", "url": "https://host/a.npz"}, {"name": "b", "url": "https://host/b"}]
    settings = json.dumps({"kind": "clouds", "files": files})
    calls = handed_over("download", "gmcn.data.download", "--dataset", "mine", "--settings", settings)
    assert [file["url"] for file in calls["settings"]["files"]] == ["https://anna:s3cret@host/a.npz", "https://host/b"]


@pytest.mark.parametrize("name", ["7", "on", "1.5", "null"])
def test_a_name_that_is_no_text_to_yaml_is_one_sentence(tmp_path, capsys, name):
    (tmp_path / "mine.yaml").write_text(f"variants:\n  {name}: {{base: small}}\n")
    arguments = ["names", "--config", str(ROOT / "config.yaml"), "--config", str(tmp_path / "mine.yaml")]
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"gmcn: error: {tmp_path / 'mine.yaml'}: a name in 'variants' is ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["sample", "--dataset", "digit"], "unknown data set 'digit'; did you mean 'digits'?"),
        (["fit", "--dataset", "digits", "--fit", "kmeans"], "unknown fit 'kmeans'; did you mean 'kmeans"),
        (["train", "--dataset", "digits", "--variant", "smal"], "unknown variant 'smal'; did you mean 'small'?"),
        (["sample", "--dataset", "digits", "--settings", "{"], "--settings is not readable JSON"),
        (["sample", "--dataset", "digits", "--settings", "[]"], "--settings must be a JSON object"),
        (["fit", "--dataset", "digits", "--fit", "kmeans16"], "points/digits.safetensors does not exist"),
        (["train", "--dataset", "digits", "--variant", "small"], "s/digits_kmeans16.safetensors does not exist; make"),
        (["download", "--dataset", "mnist", "--file", "x"], "unknown file of mnist 'x'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, part):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, *CONFIG]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("gmcn: error: ")
    assert part in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"gmcn {metadata.version('gmcn')}\n"


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "folder.json").mkdir()
    assert cli.main(["export", str(tmp_path / "folder.json"), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("gmcn: error: cannot read or write: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, number):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    assert cli.main(["sample", "--dataset", "solids10", "--settings", SOLIDS, *CONFIG]) == 1
    printed = capsys.readouterr().err
    assert "gmcn: error: the disk is full" in printed
    assert "Traceback" not in printed
    assert list((tmp_path / "results/points").iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), RuntimeError("bad_alloc")]
)
def test_too_little_memory_is_one_line_that_says_what_to_lower(tmp_path, monkeypatch, capsys, error):
    def fail(*_, **__):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gmcn.data.sample", fail)
    assert cli.main(["sample", "--dataset", "digits", *CONFIG, "--tracking", "off"]) == 1
    printed = capsys.readouterr().err
    assert "gmcn: error: sample ran out of memory; start it again with more, or with fewer `points`" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("error", [errors.NonFiniteError, errors.OutOfMemoryError, errors.LostRankError])
def test_what_stops_a_training_is_one_line(tmp_path, monkeypatch, capsys, error):
    def stop(*_, **__):
        raise error("training stopped at step 8; the last checkpoint is kept")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gmcn.data.sample", stop)  # for all stages alike, and this one needs no input
    assert cli.main(["sample", "--dataset", "digits", *CONFIG]) == 1
    assert capsys.readouterr().err == "gmcn: error: training stopped at step 8; the last checkpoint is kept\n"


def test_mistakes_of_the_program_keep_their_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gmcn.data.sample", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["sample", "--dataset", "digits", *CONFIG])


def test_sigterm_ends_a_stage_with_its_status(tmp_path):
    code = (
        "import time, gmcn.data, gmcn.cli\n"
        "gmcn.data.sample = lambda *a, **k: (print('started', flush=True), time.sleep(60))\n"
        "raise SystemExit(gmcn.cli.main(['sample', '--dataset', 'd', '--settings', '{}', '--results', 'r',"
        " '--tracking', 'off']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM


def test_an_interrupted_stage_leaves_its_log_as_a_terminated_one(tmp_path, monkeypatch, capsys):
    def leave(*_, **__):
        logging.getLogger("gmcn").warning("stopped by SIGINT%slast.ckpt", console.LEFT)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gmcn.data.sample", leave)
    arguments = ["sample", "--dataset", "digits", *CONFIG, "--log", "a.log"]
    assert cli.main(arguments) == 128 + signal.SIGINT
    assert capsys.readouterr().err.endswith("gmcn: error: sample was interrupted\n")
    assert was_asked_to_leave("a.log")


def test_names_say_what_everything_is(capsys, tmp_path):
    mine = "{base: small, training: {kernel_decay: 0}, datasets: {mnist: {seeds: [3]}}}"
    own = f"variants: {{mine: {mine}, same: {{base: em}}}}\nfits: {{few: {{components: 5}}}}"
    (tmp_path / "mine.yaml").write_text(own)
    assert cli.main(["names", *CONFIG, "--config", str(tmp_path / "mine.yaml")]) == 0
    printed = capsys.readouterr().out
    lines = [re.split(" {2,}", line) for line in printed.splitlines()]
    assert ["digits", "digits", "scikit-learn's scanned digits, 8 x 8 pixels"] in lines
    assert ["kmeans16", "kmeans", "16", "k-means, then one EM step"] in lines
    assert ["few", "kmeans", "5"] in lines
    assert ["mine", "small with training.kernel_decay 0, settings of its own on mnist"] in lines
    assert ["ablation-no-gate", "small whose TreeHEM merges Gaussians however different they are"] in lines
    assert ["same", "the same as em"] in lines
    assert ["digits_treehem2", "digits", "test accuracy 0.980"] in lines
    assert "\x1b" not in printed  # nobody looks at it
    loaded = config.load(ROOT / "config.yaml")
    assert all(any(line[0] == name for line in lines) for name in loaded["variants"])


def test_every_data_set_and_fit_of_ours_and_every_main_variant_is_described():
    loaded = config.load(ROOT / "config.yaml")
    assert all(own.get("description") for section in ("datasets", "fits") for own in loaded[section].values())
    main = yaml.safe_load((ROOT / "config.yaml").read_text())["variants"]
    assert all("description" in own for own in main.values())


def test_help_is_quick_and_names_every_stage():
    started = time.monotonic()
    shown = subprocess.run([sys.executable, "-m", "gmcn", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    for command in (*STAGES, *OTHERS):
        assert command in shown.stdout
    assert time.monotonic() - started < 20  # importing torch on a busy machine; seconds mean something is wrong


def test_the_log_keeps_finished_lines_without_colours_and_bars(tmp_path):
    terminal = io.StringIO()
    with contextlib.redirect_stderr(terminal), console.logging_to(tmp_path / "logs/a.log"):
        print("\x1b[31mred\x1b[0m", file=sys.stderr)
        for percent in range(0, 101, 50):
            print(f"\r\x1b[2K{percent} %", end="", file=sys.stderr)
        print(" done", file=sys.stderr)
    assert (tmp_path / "logs/a.log").read_text() == "red\n100 % done\n"
    assert terminal.getvalue().startswith("\x1b[31mred")


def test_a_second_start_takes_nothing_from_the_log_of_the_job_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "sample.log"
    arguments = ["sample", "--dataset", "solids10", "--settings", SOLIDS, *CONFIG, "--log", str(log)]
    with claimed(log), open(log, "a") as first:
        print("epoch 1 of 9", file=first, flush=True)
        assert cli.main(arguments) == 2
        print("epoch 2 of 9", file=first)
    lines = log.read_text().splitlines()
    assert (lines[0], lines[2]) == ("epoch 1 of 9", "epoch 2 of 9")
    assert lines[1].startswith(f"gmcn: error: the job of {log} still runs on")
    assert cli.main(arguments) == 0
    assert "epoch" not in log.read_text(), "of an earlier attempt"


@pytest.mark.faults
def test_a_log_on_a_full_disk_stops_nothing(tmp_path):
    terminal, limits = io.StringIO(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with contextlib.redirect_stderr(terminal), console.logging_to(tmp_path / "a.log"):
            print("more than fits onto it", file=sys.stderr)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert terminal.getvalue() == "more than fits onto it\n"


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        command = [sys.executable, "-m", "gmcn", "names"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=120)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
