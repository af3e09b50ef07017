"""Accidents to the files and the clock of a training: the last good checkpoint stays, and the next start goes on."""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from gmcn import tracking
from gmcn.artifacts import load_tensors
from gmcn.cli import main
from gmcn.running import claimed
from gmcn.training import stage, train
from gmcn.training.callbacks import LastCheckpoint
from gmcn.training.checkpoints import AtomicCheckpoints, find_checkpoint, training_key
from tests.training.conftest import Recorder
from tests.training.processes import run
from tests.training.test_resume import Halt, crash, same

pytestmark = pytest.mark.faults

FILES = ["history.csv", "last.ckpt", "model.safetensors", "training.json"]


def command(arguments: dict, output: Path, results: Path) -> list[str]:
    """The command that trains by hand, without a log."""
    options = ["--dataset", "toy", "--variant", "tiny", "--seed", "0", "--tracking", "off", "--device", "cpu"]
    files = ["--mixtures", str(arguments["artifact"]), "--output", str(output), "--results", str(results)]
    return ["train", *options, "--threads", "1", *files, "--settings", json.dumps(arguments["settings"])]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def arguments(mixtures, settings) -> dict:
    """Of a training that saves after every step."""
    settings["training"] |= {"checkpoint_minutes": 1e-9, "epochs": 2}
    return {"artifact": mixtures, "settings": settings, "seed": 0, "device": "cpu", "threads": 1}


@pytest.fixture
def straight(arguments, tmp_path) -> Path:
    """The folder of an uninterrupted one."""
    train(output=tmp_path / "straight", **arguments)
    return tmp_path / "straight"


@pytest.fixture
def halted(arguments, tmp_path) -> Path:
    """The folder of one that crashed in its sixth step."""
    with pytest.raises(Halt):
        train(output=tmp_path / "out", run=Recorder({6: crash}), **arguments)
    return tmp_path / "out"


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def test_a_full_disk_leaves_the_last_checkpoint(arguments, tmp_path, straight, capsys):
    out = tmp_path / "out"

    def fill():  # what is about to be written goes where there is never any space
        (out / f".last.ckpt.{platform.node().partition('.')[0]}.{os.getpid()}.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left") as error:
        train(output=out, run=Recorder({6: fill}), **arguments)
    assert error.value.errno == 28
    assert step_of(out / "last.ckpt") == 5
    assert names_in(out) == ["history.csv", "last.ckpt", "previous.ckpt"]
    assert train(output=out, **arguments)["resumed"] == 1
    assert same(straight, out)


def test_a_disk_that_fills_up_within_a_checkpoint_says_so_itself(tmp_path):
    """Where torch is not at its first bytes, it has an error of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            AtomicCheckpoints().save_checkpoint({"weights": torch.zeros(200_000)}, tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == []


def test_a_folder_that_becomes_read_only_leaves_the_last_checkpoint(arguments, tmp_path, straight):
    out = tmp_path / "out"
    script = f"""
        from gmcn.cli import _sentence
        at = {{6: lambda: os.chmod({str(out)!r}, 0o555)}}
        try:
            trained({str(arguments["artifact"])!r}, {arguments["settings"]!r}, {str(out)!r}, at)
        except OSError as error:
            print(_sentence(error))
            sys.exit(3)
    """
    # Root may write everywhere but for this.
    prefix = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override") if os.geteuid() == 0 else ()
    if prefix and not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to be refused anything")
    try:
        [(status, output)] = run(script, prefix=prefix)
    finally:
        out.chmod(0o755)
    assert status == 3, output
    assert "not allowed to read or write" in output
    assert step_of(out / "last.ckpt") == 5
    assert train(output=out, **arguments)["resumed"] == 1
    assert same(straight, out)


@pytest.mark.parametrize("moment", ["half written", "between the renames"])
def test_kill_9_while_a_checkpoint_is_written(arguments, tmp_path, straight, moment):
    out = tmp_path / "out"
    script = f"""
        fsync, replace = os.fsync, os.replace

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        def dying(source, target):
            replace(source, target)
            if os.path.basename(target) == "previous.ckpt":
                die()

        def arm():
            if {moment!r} == "half written":
                os.fsync = die
            else:
                os.replace = dying

        trained({str(arguments["artifact"])!r}, {arguments["settings"]!r}, {str(out)!r}, {{6: arm}})
    """
    [(status, output)] = run(script)
    assert status == -signal.SIGKILL, output
    assert any(name.endswith(".part") for name in names_in(out))
    assert (out / "last.ckpt").exists() == (moment == "half written")
    (out / ".last.ckpt.node17.1.part").touch()  # on another machine, whose processes are not seen from here
    assert train(output=out, **arguments)["resumed"] == 1
    assert same(straight, out)
    assert names_in(out) == FILES, "what the killed processes left is gone"


def damage(content: bytes, draw: random.Random) -> bytes:
    """One of the ways in which a file may be damaged."""
    place, kind = draw.randrange(len(content)), draw.choice(["cut", "byte", "zeros", "twice"])
    if kind == "cut":
        return content[:place]
    if kind == "byte":
        return content[:place] + bytes([content[place] ^ (1 + draw.randrange(255))]) + content[place + 1 :]
    if kind == "zeros":
        return content[:place] + bytes(len(content) - place)
    return content[:place] + content[place // 2 :]


def test_a_damaged_checkpoint_is_never_an_error(arguments, halted):
    key = training_key(arguments["artifact"], arguments["settings"], 0)
    whole, draw = (halted / "last.ckpt").read_bytes(), random.Random(0)
    expected, refused = torch.load(halted / "last.ckpt", weights_only=True), 0
    for _ in range(300):
        (halted / "last.ckpt").write_bytes(damage(whole, draw))
        found = find_checkpoint(halted, key)
        assert found in (halted / "last.ckpt", halted / "previous.ckpt")
        if found.name == "previous.ckpt":
            refused += 1
            continue
        # Some bytes between the tensors mean nothing: what is read is what was written.
        read = torch.load(found, weights_only=True)
        assert read["global_step"] == expected["global_step"]
        assert all(torch.equal(read["state_dict"][name], value) for name, value in expected["state_dict"].items())
    assert refused > 200


def test_only_damaged_checkpoints_start_afresh_and_say_so(arguments, halted, straight, caplog):
    for name in ("last.ckpt", "previous.ckpt"):
        content = (halted / name).read_bytes()
        (halted / name).write_bytes(content[: len(content) // 2])
    assert train(output=halted, **arguments)["resumed"] == 0
    for name in ("last.ckpt", "previous.ckpt"):
        assert f"{name} is damaged, or of another version, and not used" in caplog.text
    assert same(straight, halted)


def test_a_damaged_checkpoint_does_not_push_out_the_good_one(arguments, halted, straight):
    """A training that is killed again before its first new checkpoint still has the old one."""
    (halted / "last.ckpt").write_bytes(b"")
    with pytest.raises(Halt):
        train(output=halted, run=Recorder({5: crash}), **arguments)
    assert step_of(halted / "last.ckpt") == 4
    assert not (halted / "previous.ckpt").exists()
    assert train(output=halted, **arguments)["resumed"] == 1
    assert same(straight, halted)


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(arguments, halted, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("zipfile.ZipFile", refuse)
    with pytest.raises(PermissionError, match=r"last\.ckpt"):
        train(output=halted, **arguments)


class Stranger:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_stranger_s_checkpoint_is_not_unpickled(arguments, tmp_path, straight, caplog):
    out, trap = tmp_path / "out", tmp_path / "trap"
    out.mkdir()
    state = {"key": training_key(arguments["artifact"], arguments["settings"], 0), "more": Stranger(str(trap))}
    torch.save({"callbacks": {LastCheckpoint.__qualname__: state}}, out / "last.ckpt")
    assert train(output=out, **arguments)["resumed"] == 0
    assert "last.ckpt is damaged, or of another version, and not used" in caplog.text
    assert not trap.exists()
    assert same(straight, out)


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_a_clock_that_jumps_changes_no_interval(arguments, tmp_path, monkeypatch, hours):
    """Time of day jumps at every step, in an hour in which the process computes for two minutes a step."""
    clock = {"day": time.time(), "process": time.monotonic()}

    def pass_on():
        clock["day"] += 3600 * hours
        clock["process"] += 120

    monkeypatch.setattr(time, "time", lambda: clock["day"])
    monkeypatch.setattr(time, "monotonic", lambda: clock["process"])
    original, saved = LastCheckpoint.save, []

    def save(self, trainer):
        saved.append(trainer.global_step)
        original(self, trainer)

    monkeypatch.setattr(LastCheckpoint, "save", save)
    arguments["settings"]["training"] |= {"checkpoint_minutes": 5, "batch_size": 3, "early_batches": 9}
    run = Recorder(dict.fromkeys(range(1, 19), pass_on))
    result = train(output=tmp_path / "out", run=run, **arguments)
    # Every third step, and at the ends of the epochs.
    assert saved == [3, 6, 9, 12, 15, 18]
    assert result["seconds"] == 18 * 120


def test_a_training_that_is_killed_at_its_very_end_is_not_lost(arguments, tmp_path, monkeypatch):
    """While its run is closed: all is written, but to Snakemake the job has failed, and it deletes its outputs."""
    out = tmp_path / "out"
    monkeypatch.setattr(stage, "provenance", lambda: {"time": "now"})
    end = tracking.Run.end
    monkeypatch.setattr(tracking.Run, "end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        main(command(arguments, out, tmp_path))
    monkeypatch.setattr(tracking.Run, "end", end)
    assert names_in(out) == FILES
    history, network = (out / "history.csv").read_bytes(), load_tensors(out / "model.safetensors")
    for name in set(FILES) - {"last.ckpt"}:
        (out / name).unlink()

    monkeypatch.setattr(LastCheckpoint, "save", lambda *_: pytest.fail("an epoch was trained again"))
    assert main(command(arguments, out, tmp_path)) == 0
    assert names_in(out) == FILES
    assert (out / "history.csv").read_bytes() == history
    again = load_tensors(out / "model.safetensors")
    assert again[1] == network[1]
    # Equal bytes; those of the file's header are in an order that safetensors draws anew.
    assert {name: t.numpy().tobytes() for name, t in again[0].items()} == {
        name: t.numpy().tobytes() for name, t in network[0].items()
    }


def test_what_other_code_has_finished_is_trained_again(arguments, tmp_path, straight, monkeypatch, caplog):
    monkeypatch.setattr(stage, "code_key", lambda: "older code")
    train(output=tmp_path / "out", **arguments)
    monkeypatch.undo()
    assert find_checkpoint(straight, training_key(arguments["artifact"], arguments["settings"], 0))
    run = Recorder()
    assert train(output=tmp_path / "out", run=run, **arguments)["resumed"] == 0
    assert "that other code has finished: training starts afresh" in caplog.text
    assert min(step for step, metrics in run.metrics if "train/loss" in metrics) == 1


def test_no_word_of_a_traceback_reaches_the_user(arguments, halted, tmp_path, capsys):
    """The command, on a checkpoint that nothing can be made of."""
    (halted / "last.ckpt").write_bytes(b"PK\x03\x04 nothing")
    (halted / "previous.ckpt").write_bytes(b"\x80\x04.")
    assert main(command(arguments, halted, tmp_path)) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert names_in(halted) == FILES


def test_a_second_training_in_the_same_folder_is_refused_without_a_log_as_well(arguments, halted, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in halted.iterdir()}
    with claimed(halted):
        assert main(command(arguments, halted, tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gmcn: error: the job of {halted} still runs on ")
    assert {path.name: path.read_bytes() for path in halted.iterdir()} == before
    assert main(command(arguments, halted, tmp_path)) == 0
