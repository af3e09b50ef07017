"""Every stage, killed, out of disk or given damaged files: nothing is half-written or lost, and the next try works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gmcn import cli
from gmcn.artifacts import load_tensors
from tests.conftest import ROOT
from tests.faults import zygote

pytestmark = pytest.mark.faults

TINY = """
tracking: {enabled: false}
datasets:
  solids10: {train_per_class: 4, test_per_class: 1, points: 64}
  published:
    kind: images
    class_names: ["0"]
    files:
      - {name: images, url: mirror/images, sha256: 541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53}
figures: {solids10: {fits: [kmeans16]}}
tables: {tiny: {title: Tiny, dataset: solids10, columns: [accuracy], rows: [{variant: smoke}]}}
least_squares: {mixtures: 1, components: 4, limit: 0.1}
variants: {smoke: {training: {epochs: 2, batch_size: 8}, probe: {positions: 20, shapes: 2}}}
"""
SOLIDS = ("--dataset", "solids10")
RUN = "results/runs/solids10_smoke"
# Of every stage, its arguments and the artifact that it writes last or that counts most.
STAGES = {
    "download": (("--dataset", "published"), "results/datasets/published/images"),
    "sample": (SOLIDS, "results/points/solids10.safetensors"),
    "fit": ((*SOLIDS, "--fit", "kmeans16"), "results/mixtures/solids10_kmeans16.safetensors"),
    "rival": ((*SOLIDS, "--rival", "nearest-neighbour"), "results/rivals/solids10_nearest-neighbour.json"),
    "train": ((*SOLIDS, "--variant", "smoke", "--seed", "0", "--device", "cpu"), f"{RUN}/seed0/model.safetensors"),
    "evaluate": ((*SOLIDS, "--variant", "smoke", "--device", "cpu"), f"{RUN}/evaluation.json"),
    "probe": ((*SOLIDS, "--variant", "smoke", "--device", "cpu"), f"{RUN}/rmse.json"),
    "footprint": ((*SOLIDS, "--variant", "smoke", "--device", "cpu"), f"{RUN}/footprint.json"),
    "summarise": ((*SOLIDS, "--variant", "smoke"), "results/solids10_smoke.json"),
    "table": (("--name", "tiny"), "results/tables/tiny.md"),
    "least-squares": (("--device", "cpu"), "results/measurements/least-squares.json"),
    "draw-fits": (SOLIDS, "results/figures/solids10_fits.png"),
    "draw-figure": (("--name", "figure7"), "results/figures/figure7.png"),
}
# The footprint is measured in processes of its own.
EVERY = [pytest.param(stage, marks=pytest.mark.slow) if stage == "footprint" else stage for stage in STAGES]


def command(stage: str) -> list[str]:
    own, _ = STAGES[stage]
    configs = ["--config", str(ROOT / "config.yaml"), "--config", "tiny.yaml"]
    threads = ["--threads", "1"]
    return [stage, *own, *configs, *threads, "--log", f"results/logs/{stage}.log"]


class Runner:
    """Runs commands in processes that may die."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def __call__(self, folder: Path, stage: str, *fault: object, more: tuple[str, ...] = ()) -> tuple[int, str]:
        task = {"folder": str(folder), "arguments": command(stage), "more": more, "fault": fault}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if answer["status"] == zygote.CANNOT:
            pytest.skip(f"no fault '{fault[0]}' on this machine: mounts are not allowed")
        return answer["status"], answer["text"]


@pytest.fixture(scope="module")
def run() -> Iterator[Runner]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.zygote"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Runner(process)
    process.stdin.close()
    process.wait(timeout=60)


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory) -> Path:
    """A folder in which every stage has been run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "mirror").mkdir()
    (folder / "mirror/images").write_bytes(bytes(1000))
    for stage in STAGES:
        status, text = run(folder, stage)
        assert status == 0, text
    # Else it would be kept, and nothing be downloaded.
    (folder / STAGES["download"][1]).write_bytes(b"damaged")
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    """All files but logs, by path."""
    files = (path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def but_history(files: dict[str, bytes]) -> dict[str, bytes]:
    """A training that starts writes its history anew."""
    return {name: content for name, content in files.items() if not name.endswith("history.csv")}


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


# SIGTERM just ends all stages but a training, which saves its state.
SIGNALS = [
    pytest.param(number, stage, marks=pytest.mark.slow)
    if stage == "footprint" or (number == signal.SIGTERM and stage != "train")
    else (number, stage)
    for number in (signal.SIGKILL, signal.SIGTERM)
    for stage in STAGES
]


@pytest.mark.parametrize(("number", "stage"), SIGNALS)
def test_a_signal_at_the_worst_moment(run, folder, stage, number):
    output = folder / STAGES[stage][1]
    before = output.read_bytes()
    status, text = run(folder, stage, "signal", int(number), str(output))
    assert status == (-number if number == signal.SIGKILL else 128 + number), text
    assert output.read_bytes() == before
    assert len(leftovers(folder)) == (number == signal.SIGKILL)
    status, text = run(folder, stage)
    assert status == 0, text
    assert leftovers(folder) == []
    if stage == "train":
        assert f"resuming from {RUN}/seed0/last.ckpt" in text
        assert not (output.parent / "previous.ckpt").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_after_all_is_written_loses_no_training(run, folder, number):
    out = (folder / STAGES["train"][1]).parent
    assert not (out / "last.ckpt").exists(), "summarise deletes it"
    before, _ = load_tensors(out / "model.safetensors")
    status, text = run(folder, "train", "signal at the end", int(number))
    assert status == (-number if number == signal.SIGKILL else 128 + number), text
    for name in ("model.safetensors", "history.csv", "training.json"):
        (out / name).unlink()  # Snakemake does, of a job that failed
    status, text = run(folder, "train")
    assert (status, "resuming from" in text, "epoch 2" in text) == (0, True, False), text
    after, _ = load_tensors(out / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("stage", EVERY)
def test_a_full_disk(run, folder, stage):
    before = contents(folder)
    status, text = run(folder, stage, "full")
    assert status == 1, text
    assert text.splitlines()[-1].startswith("gmcn: error: the disk is full, nothing was left half-written")
    assert "Traceback" not in text
    assert but_history(contents(folder)) == but_history(before)


def test_a_full_disk_with_tracking(run, folder):
    """The journal begins well, then neither it nor the database nor the checkpoint can grow."""
    pytest.importorskip("mlflow")
    before = contents(folder)
    status, text = run(folder, "train", "full", 4096, more=("--tracking", "on"))
    assert status == 1, text
    assert text.splitlines()[-1].startswith("gmcn: error: the disk is full, nothing was left half-written")
    assert "warning: " in text
    assert "Traceback" not in text
    assert STAGES["train"][1] in before
    assert but_history({name: (folder / name).read_bytes() for name in before}) == but_history(before)


@pytest.mark.parametrize("stage", EVERY)
def test_a_read_only_results_folder(run, folder, stage):
    before = contents(folder)
    status, text = run(folder, stage, "read only", str(folder / "results"))
    assert status == 1, text
    assert text.splitlines()[-1].startswith("gmcn: error: not allowed to read or write")
    assert "Traceback" not in text
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("fit", STAGES["sample"][1]),
        ("rival", STAGES["sample"][1]),
        ("train", STAGES["fit"][1]),
        ("evaluate", STAGES["fit"][1]),
        ("evaluate", STAGES["train"][1]),
        ("probe", STAGES["train"][1]),
        ("footprint", STAGES["train"][1]),
        ("summarise", STAGES["sample"][1]),
        ("summarise", f"{RUN}/seed0/training.json"),
        ("summarise", f"{RUN}/seed0/history.csv"),
        ("summarise", STAGES["evaluate"][1]),
        ("summarise", STAGES["probe"][1]),
        ("summarise", STAGES["footprint"][1]),
    ],
)
@pytest.mark.parametrize("size", [0, 0.5])
def test_a_damaged_artifact_is_named_with_the_command_that_makes_it_again(
    folder, monkeypatch, capsys, stage, file, size
):
    monkeypatch.chdir(folder)
    path = Path(file)
    path.write_bytes(path.read_bytes()[: int(size * path.stat().st_size)])
    before = contents(folder)
    assert cli.main(command(stage)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("gmcn: error: ")
    assert f"`rm {file} && snakemake --cores all {file}`" in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert contents(folder) == before


def test_a_clock_that_jumps_back_stops_no_training(run, folder):
    # Every file is from tomorrow, as if the clock had been wrong until now.
    tomorrow = (folder / "tiny.yaml").stat().st_mtime + 86400
    for path in folder.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    output = folder / STAGES["train"][1]
    before, _ = load_tensors(output)
    assert run(folder, "train", "signal", int(signal.SIGKILL), str(output))[0] == -signal.SIGKILL
    status, text = run(folder, "train")
    assert (status, "resuming from" in text) == (0, True), text
    after, _ = load_tensors(output)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
