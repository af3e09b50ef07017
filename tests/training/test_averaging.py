"""Trainings that keep the mean of the weights they have passed through."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import load_tensors
from gmcn.training import stage, train
from gmcn.training.averaging import Average
from tests.training.conftest import Recorder
from tests.training.test_resume import Halt, crash, same
from tests.training.test_train import read_history

DECAY = 0.7


@pytest.fixture
def arguments(mixtures, settings) -> dict:
    settings["training"] |= {"ema_decay": DECAY, "checkpoint_minutes": 1e-9}
    return {"artifact": mixtures, "settings": settings, "seed": 0, "device": "cpu", "threads": 1}


def test_what_is_kept_and_validated_is_the_average_of_a_training_as_it_is_without(arguments, tmp_path, monkeypatch):
    networks = []

    class Watched(stage.History):
        def on_train_batch_end(self, trainer, module, *_):
            networks.append({name: tensor.clone() for name, tensor in module.model.state_dict().items()})

    monkeypatch.setattr(stage, "History", Watched)
    train(output=tmp_path / "averaged", **arguments)
    passed = networks.copy()
    arguments["settings"]["training"].pop("ema_decay")
    train(output=tmp_path / "plain", **arguments)
    last = load_tensors(tmp_path / "plain" / "model.safetensors")[0]
    assert all(torch.equal(passed[-1][name], last[name]) for name in last)

    average = passed[0]
    for steps, network in enumerate(passed[1:], 1):
        share = min(DECAY, (1 + steps) / (10 + steps))
        average = {name: share * average[name] + (1 - share) * network[name] for name in average}
    kept = load_tensors(tmp_path / "averaged" / "model.safetensors")[0]
    assert any((kept[name] - last[name]).abs().max() > 1e-3 for name in last)
    for name in last:
        if last[name].is_floating_point():
            torch.testing.assert_close(kept[name], average[name], rtol=1e-5, atol=1e-6)
        else:  # counts
            assert torch.equal(kept[name], last[name])

    rows = [read_history(tmp_path / name) for name in ("averaged", "plain")]
    for one, other in zip(*rows, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["validation_loss"] != other["validation_loss"]


def test_places_among_the_buffers_stay():
    """0.9 of 7 and 0.1 of 7 are less than 7 in float32."""
    averaged = Average(0.9)._kwargs["avg_fn"]
    places = torch.arange(20)
    assert torch.equal(averaged(places, places, torch.tensor(1000)), places)
    assert averaged(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1000)).item() == pytest.approx(0.1)


@pytest.mark.faults
@pytest.mark.parametrize("step", [3, 7])
def test_a_crash_changes_nothing(arguments, tmp_path, step):
    train(output=tmp_path / "straight", **arguments)
    with pytest.raises(Halt):
        train(output=tmp_path / "halted", run=Recorder({step: crash}), **arguments)
    assert train(output=tmp_path / "halted", **arguments)["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")
    # A start from the checkpoint of the last epoch trains nothing, and keeps the same average.
    (tmp_path / "halted" / "model.safetensors").unlink()
    assert train(output=tmp_path / "halted", **arguments)["resumed"] == 1
    assert same(tmp_path / "straight", tmp_path / "halted")
