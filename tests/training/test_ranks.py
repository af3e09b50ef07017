"""Several processes train what one does: the same gradients for the same batch, the same resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from gmcn.artifacts import load_tensors, read_json
from gmcn.errors import InputError
from gmcn.stages.paths import snapshot_of
from gmcn.training import train
from tests.training.conftest import NETWORK, TRAINING, make_mixtures
from tests.training.processes import ROOT, run
from tests.training.test_resume import same
from tests.training.test_train import read_history

# The gradients of the first step, as Adam gets them, with the loss and the running statistics.
GRADIENTS = """
import torch
from gmcn.training import stage
from gmcn.training.step import TrainingStep

def keep(self, outcome, count):
    global kept
    kept = {{name: p.grad for name, p in self.model.named_parameters()}} | dict(self.model.named_buffers())
    kept |= {{"loss": outcome[0], "correct": outcome[1]}}
    raise SystemExit

def build(*arguments):
    model = original(*arguments).to(dtype)
    # Off the kinks: a bias of zero leaves it to the rounding whether a ReLU lets a zero through.
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model

def read(*arguments):
    data = read_split(*arguments)
    return dataclasses.replace(data, inputs=data.inputs.to(dtype))

import dataclasses
original, read_split = stage.build_network, stage.read_split
stage.build_network, stage.read_split, TrainingStep._check_and_clip = build, read, keep
outcome = {{}}
for name, settings in {cases!r}.items():
    for dtype in (torch.float32, torch.float64):
        settings["training"]["devices"] = int(os.environ.get("WORLD_SIZE", 1))
        try:
            trained({mixtures!r}, settings, {output!r})
        except SystemExit:
            outcome[f"{{name}} {{dtype}}"] = kept
torch.save(outcome, {path!r} + str(ranks.rank()))
"""
FILES = ["history.csv", "last.ckpt", "model.safetensors", "training.json"]
NETWORKS = {
    "gmcn": NETWORK,
    "gmcn as the authors' code": NETWORK | {"norm": "running", "norm_weighted": False},
    "pointnet": {"kind": "pointnet", "dropout": 0.0},
    "pointnet2": {"kind": "pointnet2", "dropout": 0.0},
}


@pytest.fixture(scope="module")
def gradients(tmp_path_factory) -> dict[tuple[int, int], dict]:
    """By number of processes and rank: of networks, whole batches and parts, in both precisions."""
    folder = tmp_path_factory.mktemp("gradients")
    # 33 shapes in batches of up to 7: the shares of two ranks are uneven.
    training = TRAINING | {"batch_size": 7, "label_smoothing": 0.1}
    cases = {
        f"{name} in {parts}": {"network": network, "training": training | {"micro_batches": parts}}
        for name, network in NETWORKS.items()
        for parts in (1, 3)
    }
    mixtures = str(make_mixtures(folder / "mixtures.safetensors", train=21, dim=3))
    found = {}
    for count in (1, 2):
        path = str(folder / f"{count}.")
        script = GRADIENTS.format(path=path, mixtures=mixtures, cases=cases, output=str(folder / "out"))
        outcomes = run(script, ranks=count)
        assert [status for status, _ in outcomes] == [0] * count, outcomes
        found |= {(count, rank): torch.load(f"{path}{rank}", weights_only=True) for rank in range(count)}
    return found


# The normalisations of the point networks magnify the rounding of float32 to some 1e-5.
PRECISIONS = [(name, "torch.float64", 1e-7) for name in NETWORKS] + [("gmcn", "torch.float32", 1e-5)]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("name", "dtype", "tolerance"), PRECISIONS)
def test_two_ranks_have_the_gradient_of_one_process(gradients, parts, name, dtype, tolerance):
    case = f"{name} in {parts} {dtype}"
    expected = gradients[1, 0][case]
    assert any(value.abs().max() > 1e-2 for value in expected.values())
    for rank in range(2):
        for key, value in expected.items():
            largest = max(1, value.abs().max().item())
            difference = (gradients[2, rank][case][key] - value).abs().max().item()
            assert difference <= tolerance * largest, f"{key} on rank {rank}"
    assert all(torch.equal(gradients[2, 0][case][key], gradients[2, 1][case][key]) for key in expected)


@pytest.fixture
def of_two(settings) -> dict:
    """Settings of a training by two ranks, with dropout, which each of them draws for itself."""
    settings["training"] |= {"devices": 2, "checkpoint_minutes": 1e-9, "learning_rate": 1e-3, "snapshots": [0, 2]}
    return settings | {"network": {"kind": "pointnet"}}


def train_by_two(mixtures, settings, output, at="{}"):
    script = f"trained({str(mixtures)!r}, {settings!r}, {str(output)!r}, {at})"
    return run(script, ranks=2, nodes=settings["training"].get("nodes", 1))


@pytest.mark.slow
def test_two_ranks_stopped_and_killed_resume_to_the_same_network(mixtures, of_two, tmp_path):
    straight = train_by_two(mixtures, of_two, tmp_path / "straight")
    assert [status for status, _ in straight] == [0, 0], straight
    out = tmp_path / "out"
    # Only rank 1 gets the signal: both save the same step, and leave.
    stopped = train_by_two(mixtures, of_two, out, "{6: lambda: ranks.rank() and os.kill(os.getpid(), signal.SIGTERM)}")
    assert [status for status, _ in stopped] == [143, 143], stopped
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 6
    # Only rank 0 is killed: the other cannot go on, and does not wait for ever.
    killed = train_by_two(mixtures, of_two, out, "{11: lambda: ranks.rank() or os.kill(os.getpid(), signal.SIGKILL)}")
    assert killed[0][0] == -9
    assert killed[1][0] not in (0, -9), killed
    assert "rank 1 stopped because another one has ended" in killed[1][1]
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 10
    resumed = train_by_two(mixtures, of_two, out)
    assert [status for status, _ in resumed] == [0, 0], resumed
    assert read_json(out / "training.json")["resumed"] == 2
    assert same(tmp_path / "straight", out)
    for epoch in (0, 2):
        kept = [load_tensors(snapshot_of(folder, epoch))[0] for folder in (tmp_path / "straight", out)]
        assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["devices", "nodes"])
def test_two_ranks_train_what_one_process_trains(mixtures, settings, tmp_path, where):
    # Small steps: with large ones, another order of a sum becomes another merge of Gaussians, and soon another loss.
    settings["training"]["learning_rate"] = 2e-3
    straight = train(mixtures, settings=settings, seed=0, output=tmp_path / "one", device="cpu", threads=1)
    settings["training"][where] = 2
    outcomes = train_by_two(mixtures, settings, tmp_path / "two")
    assert [status for status, _ in outcomes] == [0, 0], outcomes
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == FILES
    result = read_json(tmp_path / "two" / "training.json")
    assert result["metrics"] == pytest.approx(straight["metrics"], abs=5e-3)
    rows = [read_history(tmp_path / name) for name in ("one", "two")]
    losses = [[float(row["train_loss"]) for row in history] for history in rows]
    assert losses[0][0] - losses[0][-1] > 0.1
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_other_numbers_of_processes_than_were_asked_for_are_refused(mixtures, settings, tmp_path, monkeypatch):
    arguments = {"settings": settings, "seed": 0, "output": tmp_path, "device": "cpu"}
    settings["training"] |= {"devices": 2}
    with pytest.raises(InputError, match=r"start them with `torchrun --standalone --nproc-per-node=2 -m -- gmcn"):
        train(mixtures, **arguments)
    settings["training"] |= {"nodes": 4}
    with pytest.raises(InputError, match=r"`srun --kill-on-bad-exit=1 --nodes=4 --ntasks-per-node=2 python -m gmcn"):
        train(mixtures, **arguments)
    for name, value in {"STEP_ID": 0, "PROCID": 1, "LOCALID": 1, "STEP_NUM_TASKS": 2}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    with pytest.raises(InputError, match=r"2 processes were started, but training\.devices is 2 and training\.nodes 4"):
        train(mixtures, **arguments)


@pytest.mark.slow
def test_a_value_that_is_not_finite_on_one_rank_stops_both_with_a_sentence(mixtures, settings, tmp_path):
    settings["training"]["devices"] = 2
    script = f"""
        def spoil():
            if ranks.rank():
                Recorder.module.model.blocks[1].convolution.raw_weights.data[0] = float("inf")

        from gmcn.training import NonFiniteError, errors, step
        original = step.TrainingStep.__init__
        def keep(self, *arguments):
            original(self, *arguments)
            Recorder.module = self
        step.TrainingStep.__init__ = keep
        try:
            trained({str(mixtures)!r}, {settings!r}, {str(tmp_path / "out")!r}, {{6: spoil}})
        except (NonFiniteError, errors.LostRankError) as error:
            print(error)
            sys.exit(3)
    """
    outcomes = run(script, ranks=2)
    assert [status for status, _ in outcomes] == [3, 3], outcomes
    assert "is not finite; the last good checkpoint is kept" in outcomes[1][1]
    assert torch.load(tmp_path / "out" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_ranks_whose_torchrun_is_killed_save_and_leave(mixtures, settings, tmp_path):
    """Nothing may train on beside the next start."""
    settings["training"] |= {"epochs": 100_000, "devices": 2}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", "gmcn"]
    command += ["train", "--dataset", "toy", "--variant", "tiny", "--seed", "0", "--tracking", "off", "--device", "cpu"]
    command += ["--mixtures", str(mixtures), "--results", str(tmp_path), "--output", str(tmp_path / "out")]
    command += ["--threads", "2", "--log", str(tmp_path / "log"), "--settings", json.dumps(settings)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as torchrun:
        wait_for(lambda: (tmp_path / "out" / "last.ckpt").exists() or torchrun.poll() is not None)
        torchrun.kill()
    wait_for(lambda: "stopped by SIGTERM; resumes from" in (tmp_path / "log").read_text())
    ours = ["pgrep", "-f", str(tmp_path / "out")]
    wait_for(lambda: subprocess.run(ours, stdout=subprocess.DEVNULL).returncode != 0)
    assert (tmp_path / "log.rank1").read_text() == ""


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)
