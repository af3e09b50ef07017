"""A training that is stopped anywhere and started again ends in the same network, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import gmcn.training
from gmcn.artifacts import load_tensors
from gmcn.training import resumable, train
from tests.training.conftest import Recorder
from tests.training.test_train import read_history

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def straight(mixtures, settings, tmp_path) -> Path:
    """The folder of an uninterrupted training: 4 epochs of 4 steps."""
    train(mixtures, settings=settings, seed=0, output=tmp_path / "straight", device="cpu", threads=1)
    return tmp_path / "straight"


def same(folder: Path, other: Path) -> bool:
    """Equal weights and buffers, and equal histories but for the time."""
    first, second = (load_tensors(path / "model.safetensors")[0] for path in (folder, other))
    assert first.keys() == second.keys()
    histories = [[{**row, "seconds": None} for row in read_history(path)] for path in (folder, other)]
    assert histories[0] == histories[1]
    return all(torch.equal(first[name], second[name]) for name in first)


def run_until(
    number: int, step: int, mixtures: Path, settings: dict, output: Path, times: int = 1
) -> subprocess.CompletedProcess:
    """Train in a process of its own that sends itself a signal, so many times, when it has logged ``step``."""
    script = f"""
        import os
        from tests.training.conftest import Recorder
        from gmcn.training import train
        run = Recorder({{{step}: lambda: [os.kill(os.getpid(), {int(number)}) for _ in range({times})]}})
        options = {{"settings": {settings!r}, "seed": 0, "output": {str(output)!r}, "device": "cpu", "threads": 1}}
        train({str(mixtures)!r}, run=run, **options)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


class Halt(Exception):
    """Ends a training like a crash: nothing is saved on the way out."""


def crash():
    raise Halt


@pytest.mark.parametrize(
    ("step", "schedule"),
    [(4, "cosine"), (5, "cosine"), (7, "cosine"), (8, "cosine"), (14, "plateau"), (9, "plateau"), (11, "step")],
)
def test_a_crash_at_any_step_changes_nothing(mixtures, settings, tmp_path, step, schedule):
    # At every batch a checkpoint: the crash comes right before the one of its own step.
    # At this rate the validation loss goes up and down, so that the plateau schedule has something to do.
    settings["training"] |= {"schedule": schedule, "checkpoint_minutes": 1e-9, "plateau_patience": 0}
    settings["training"]["learning_rate"] = 0.5 if schedule == "plateau" else 0.02
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    train(mixtures, output=tmp_path / "straight", **arguments)
    if schedule == "plateau":
        rates = [float(row["learning_rate"]) for row in read_history(tmp_path / "straight")]
        assert rates[2] < rates[1], "reduced before the crash, so that the reduction has to survive it"
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({step: crash}), **arguments)
    assert resumable(mixtures, settings=settings, seed=0, output=tmp_path / "halted")
    run = Recorder()
    result = train(mixtures, output=tmp_path / "halted", run=run, **arguments)
    # The last batch of an epoch has no checkpoint of its own: steps 4 and 8 go on from 3 and 7, like 5 from 4.
    assert min(at for at, metrics in run.metrics if "train/loss" in metrics) == step
    assert result["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")


def test_another_code_goes_on_and_says_so(mixtures, settings, tmp_path, monkeypatch, caplog):
    settings["training"]["checkpoint_minutes"] = 1e-9
    arguments = {"settings": settings, "seed": 0, "output": tmp_path, "device": "cpu", "threads": 1}
    with pytest.raises(Halt):
        train(mixtures, run=Recorder({5: crash}), **arguments)
    with pytest.raises(Halt):
        train(mixtures, run=Recorder({7: crash}), **arguments)
    assert "other code" not in caplog.text
    for module in (gmcn.training.stage, gmcn.training.checkpoints):
        monkeypatch.setattr(module, "code_key", lambda: "another")
    assert train(mixtures, **arguments)["resumed"] == 2
    assert "last.ckpt was written by other code than this; to start afresh, delete it" in caplog.text


def test_kill_9_in_mid_epoch(mixtures, settings, tmp_path, straight):
    settings["training"]["checkpoint_minutes"] = 1e-9
    killed = run_until(signal.SIGKILL, 7, mixtures, settings, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    train(mixtures, settings=settings, seed=0, output=tmp_path / "killed", device="cpu", threads=1)
    assert same(straight, tmp_path / "killed")


def test_kill_9_in_mid_epoch_repeats_the_augmentation(mixtures, settings, tmp_path, straight):
    augmentation = {"rotation": "any", "scaling": [0.5, 2.0], "reflection": [0], "translation": 0.1, "dropping": 0.3}
    settings["training"] |= {"augmentation": augmentation, "checkpoint_minutes": 1e-9}
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    train(mixtures, output=tmp_path / "augmented", **arguments)
    killed = run_until(signal.SIGKILL, 7, mixtures, settings, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL
    result = train(mixtures, output=tmp_path / "killed", **arguments)
    assert result["resumed"] == 1
    assert same(tmp_path / "augmented", tmp_path / "killed")
    losses = [[row["train_loss"] for row in read_history(path)] for path in (straight, tmp_path / "killed")]
    assert not set(losses[0]) & set(losses[1])


def test_kill_9_between_checkpoints_drops_the_later_rows(mixtures, settings, tmp_path, straight):
    # Only epochs are saved: the process dies in the third, after its row of the second was written.
    killed = run_until(signal.SIGKILL, 11, mixtures, settings, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL
    with open(tmp_path / "killed" / "history.csv", "a") as file:
        file.write("3,12,9,9,9,9,9,9\n")  # as if it had died between the row and its checkpoint
    train(mixtures, settings=settings, seed=0, output=tmp_path / "killed", device="cpu", threads=1)
    assert same(straight, tmp_path / "killed")


@pytest.mark.parametrize(
    ("number", "step", "times"),
    # Twice: SLURM at a time limit.
    [
        (signal.SIGTERM, 6, 2),
        (signal.SIGUSR1, 8, 1),
        (signal.SIGINT, 6, 1),
        pytest.param(signal.SIGTERM, 6, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 8, 1, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_leaves(mixtures, settings, tmp_path, straight, number, step, times):
    stopped = run_until(number, step, mixtures, settings, tmp_path / "stopped", times)
    # A KeyboardInterrupt that nobody catches ends Python with a status that depends on how it was started.
    assert stopped.returncode == 128 + number if number != signal.SIGINT else stopped.returncode, stopped.stderr
    checkpoint = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == step
    result = train(mixtures, settings=settings, seed=0, output=tmp_path / "stopped", device="cpu", threads=1)
    assert result["resumed"] == 1
    assert same(straight, tmp_path / "stopped")


def test_a_signal_before_a_validation_of_several_batches_saves_the_whole_epoch(mixtures, settings, tmp_path):
    """Lightning's own handler would leave here without saving."""
    settings["training"] |= {"batch_size": 4, "epochs": 2}
    stopped = run_until(signal.SIGTERM, 8, mixtures, settings, tmp_path)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8


def test_a_second_ctrl_c_stops_at_once(mixtures, settings, tmp_path):
    stopped = run_until(signal.SIGINT, 6, mixtures, settings, tmp_path, times=2)
    assert stopped.returncode, stopped.stderr
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4


def test_other_settings_or_data_start_afresh_and_say_so(mixtures, settings, tmp_path, caplog):
    def halted(output):
        with pytest.raises(Halt):
            train(mixtures, settings=settings, seed=0, output=output, device="cpu", run=Recorder({7: crash}))

    halted(tmp_path / "out")
    settings["training"]["learning_rate"] = 0.01
    assert not resumable(mixtures, settings=settings, seed=0, output=tmp_path / "out")
    run = Recorder()
    result = train(mixtures, settings=settings, seed=0, output=tmp_path / "out", device="cpu", threads=1, run=run)
    assert "belongs to other settings or other data: training starts afresh" in caplog.text
    assert result["resumed"] == 0
    assert [step for step, metrics in run.metrics if "train/loss" in metrics] == list(range(1, 17))
    assert len(read_history(tmp_path / "out")) == 4

    halted(tmp_path / "more")
    tensors, metadata = load_tensors(mixtures)
    tensors["weights"][0] += 1e-6
    gmcn.artifacts.save_tensors(mixtures, tensors, metadata)
    assert not resumable(mixtures, settings=settings, seed=0, output=tmp_path / "more")


@pytest.mark.parametrize("damage", ["cut", "flipped bit"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(mixtures, settings, tmp_path, straight, caplog, damage):
    out = tmp_path / "out"
    with pytest.raises(Halt):
        train(mixtures, settings=settings, seed=0, output=out, device="cpu", threads=1, run=Recorder({11: crash}))
    content = bytearray((out / "last.ckpt").read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:  # one bit of a weight, which torch.load would not notice
        weights = torch.load(out / "last.ckpt", weights_only=True)["state_dict"][
            "model.blocks.1.convolution.raw_weights"
        ]
        content[content.index(weights.numpy().tobytes())] ^= 1
    (out / "last.ckpt").write_bytes(content)
    result = train(mixtures, settings=settings, seed=0, output=out, device="cpu", threads=1)
    assert "last.ckpt is damaged, or of another version, and not used" in caplog.text
    assert result["resumed"] == 1
    assert same(straight, out)


def test_nothing_is_ever_unpickled():
    folder = Path(gmcn.training.__file__).parent.parent
    sources = {path: path.read_text() for path in folder.rglob("*.py")}
    assert not [path for path, text in sources.items() if "weights_only=False" in text.replace(" ", "")]
    calls = [line for text in sources.values() for line in text.splitlines() if "torch.load(" in line]
    assert calls
    assert all("weights_only=True" in line for line in calls)


def test_the_flow_goes_on_where_it_stopped(mixtures, settings, tmp_path):
    """The optimiser of Gaussian mixture layers, with weights that move by Fisher and Rao's metric or not."""
    settings["network"] |= {"head": "mixture", "head_channels": 4}
    settings["training"] |= {"optimizer": "wasserstein", "weight_decay": 1e-3, "checkpoint_minutes": 1e-9}
    arguments = {"settings": settings, "seed": 0, "device": "cpu", "threads": 1}
    train(mixtures, output=tmp_path / "straight", **arguments)
    with pytest.raises(Halt):
        train(mixtures, output=tmp_path / "halted", run=Recorder({7: crash}), **arguments)
    assert train(mixtures, output=tmp_path / "halted", **arguments)["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")
