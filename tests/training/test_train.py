"""The stage as a whole: it learns, it writes what it says, and it never looks at the test split."""

from __future__ import annotations

import csv
import json
import logging

import pytest
import torch

import gmcn
from gmcn import progress
from gmcn.artifacts import load_tensors, read_metadata, save_tensors, sha256
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.models.heads import Sizes
from gmcn.training import NonFiniteError, train
from gmcn.training.step import TrainingStep
from tests.training.conftest import Recorder, make_mixtures


def read_history(folder) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def rewrite(source, target, change) -> None:
    tensors, metadata = load_tensors(source)
    change(tensors)
    save_tensors(target, tensors, metadata)


@pytest.fixture
def trained(mixtures, settings, tmp_path):
    run = Recorder()
    settings["training"] |= {"epochs": 12}
    result = train(mixtures, settings=settings, seed=3, output=tmp_path / "seed3", device="cpu", threads=1, run=run)
    return result, tmp_path / "seed3", run


def test_learns_and_describes_what_it_did(mixtures, trained):
    result, folder, run = trained
    test = read_split(mixtures, TEST)
    with torch.no_grad():
        accuracy = (gmcn.load(folder)(test.inputs).argmax(1) == test.labels).float().mean()
    assert accuracy >= 0.9  # chance is 0.5

    assert result == json.loads((folder / "training.json").read_text())
    assert result["inputs"] == {
        "kind": "mixtures",
        "path": str(mixtures),
        "sha256": sha256(mixtures),
        "run_id": "fit-run",
        "points_run_id": "points-run",
    }
    assert (result["seed"], result["run_id"], result["resumed"]) == (3, "train-run", 0)
    assert result["steps"] == 12 * 4
    assert result["shapes"] == {"train": 32, "validation": 8}
    assert result["peak_memory"]["bytes"] > 1e7
    assert result["provenance"]["versions"]["torch"]
    metadata = read_metadata(folder / "model.safetensors")
    assert metadata["class_names"] == ["line", "ring"]
    assert metadata["settings"]["training"]["epochs"] == 12
    assert [path.name for path in folder.glob("*.ckpt")] == ["last.ckpt"], "for a job that is killed at its very end"

    steps = [step for step, metrics in run.metrics if "train/loss" in metrics]
    assert steps == list(range(1, 49))
    assert {path.name for path in run.artifacts} == {"history.csv", "training.json", "model.safetensors"}


def test_history_has_one_complete_row_per_epoch(trained):
    result, folder, _ = trained
    rows = read_history(folder)
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert [int(row["step"]) for row in rows] == list(range(4, 49, 4))
    assert all(float(value) >= 0 for row in rows for value in row.values())
    assert float(rows[-1]["train_loss"]) == result["metrics"]["train_loss"] < float(rows[0]["train_loss"])
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_a_log_says_how_far_a_long_epoch_is(mixtures, settings, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "gmcn")
    train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu")
    said = [message for message in caplog.messages if message.startswith("in epoch 2: ")]
    assert [message.split(",")[0] for message in said] == [f"in epoch 2: {step} of 4" for step in range(1, 5)]


def test_never_reads_the_test_split(mixtures, settings, tmp_path):
    def poison(tensors):
        for name in ("weights", "positions", "covariances"):
            tensors[name][tensors["split"] == 1] = float("nan")
        tensors["labels"][tensors["split"] == 1] = 10**9

    rewrite(mixtures, tmp_path / "poisoned.safetensors", poison)
    results = [
        train(path, settings=settings, seed=0, output=tmp_path / name, device="cpu", threads=1)["metrics"]
        for name, path in [("a", mixtures), ("b", tmp_path / "poisoned.safetensors")]
    ]
    assert results[0] == results[1]


def test_same_seed_same_network_other_seed_another(mixtures, settings, tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        train(mixtures, settings=settings, seed=seed, output=folder, device="cpu", threads=1)
    first, again, other = (load_tensors(folder / "model.safetensors")[0] for folder in folders)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.faults
def test_nan_in_the_data_is_refused_with_the_name_of_the_shape(mixtures, settings, tmp_path):
    def poison(tensors):
        tensors["positions"][5, 0, 0] = float("nan")

    rewrite(mixtures, mixtures, poison)
    with pytest.raises(InputError, match=r"'shape5' holds values that are not finite \(1 of 40 shapes\)"):
        train(mixtures, settings=settings, seed=0, output=tmp_path / "out", device="cpu")


@pytest.mark.faults
def test_a_diverging_training_stops_with_the_layer_and_keeps_the_last_good_checkpoint(
    mixtures, settings, tmp_path, monkeypatch
):
    from gmcn.nn import GaussianConvolution

    original, calls = GaussianConvolution.decay_, []

    def spoil(self, *arguments):  # after the third step of the second epoch
        original(self, *arguments)
        calls.append(self)
        if len(calls) == 2 * 7:
            self.raw_weights.data[0] = float("inf")

    monkeypatch.setattr(GaussianConvolution, "decay_", spoil)
    with pytest.raises(NonFiniteError, match=r"at step 8 in epoch 2: .*layer 'blocks\.1.*last good checkpoint") as info:
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert "\n" not in str(info.value)
    monkeypatch.undo()
    assert len(read_history(tmp_path)) == 1
    result = train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert result["resumed"] == 1
    assert result["steps"] == 16


@pytest.mark.parametrize(
    ("fraction", "steps", "message"),
    [
        (None, 4, r"the output of layer 'blocks\.1.*' is not finite"),  # met by the validation
        (0.0, 5, r"'blocks\.1\.convolution\.raw_weights' is not finite after the last update"),
    ],
)
@pytest.mark.faults
def test_a_checkpoint_with_a_value_that_is_not_finite_is_never_written(
    mixtures, settings, tmp_path, monkeypatch, fraction, steps, message
):
    from gmcn.nn import GaussianConvolution

    if fraction is not None:
        settings["training"]["validation_fraction"] = fraction
    original, calls = GaussianConvolution.decay_, []

    def spoil(self, *arguments):  # in the last step of the second epoch
        original(self, *arguments)
        calls.append(self)
        if len(calls) == 2 * 2 * steps:
            self.raw_weights.data[0] = float("nan")

    monkeypatch.setattr(GaussianConvolution, "decay_", spoil)
    with pytest.raises(NonFiniteError, match=message):
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == steps


@pytest.mark.faults
def test_a_loss_that_overflows_stops_a_training_whose_gradient_does_not(mixtures, settings, tmp_path, monkeypatch):
    original = TrainingStep.loss_of

    def loss_of(self, *batch):
        loss, logits = original(self, *batch)
        return loss + float("inf"), logits

    monkeypatch.setattr(TrainingStep, "loss_of", loss_of)
    with pytest.raises(NonFiniteError, match=r"at step 1 in epoch 1: the loss is inf"):
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)


@pytest.mark.faults
def test_a_non_finite_gradient_is_named(mixtures, settings, tmp_path, monkeypatch):
    from gmcn.nn import GaussianConvolution

    original = GaussianConvolution.kernels

    def kernels(self):
        self.raw_positions.register_hook(lambda gradient: gradient * float("nan"))
        return original(self)

    monkeypatch.setattr(GaussianConvolution, "kernels", kernels)
    with pytest.raises(NonFiniteError, match=r"the gradient of 'blocks\.0\.convolution\.raw_positions'"):
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("classes", [3])
def test_without_validation_the_columns_stay_empty(settings, tmp_path, classes):
    path = make_mixtures(tmp_path / "three.safetensors", classes=classes, train=5, test=1, dim=3)
    settings["training"] |= {"validation_fraction": 0.0, "epochs": 2, "early_batches": 1}
    result = train(path, settings=settings, seed=0, output=tmp_path / "out", device="cpu", threads=1)
    assert result["steps"] == 2
    assert result["metrics"]["validation_loss"] is None
    assert [row["validation_accuracy"] for row in read_history(tmp_path / "out")] == ["", ""]


def test_a_plateau_needs_objects_to_watch(settings, tmp_path):
    path = make_mixtures(tmp_path / "two.safetensors", classes=2, train=1, test=1)
    settings["training"] |= {"schedule": "plateau", "batch_size": 2}
    with pytest.raises(InputError, match="plateau watches the validation loss, but the classes have too few objects"):
        train(path, settings=settings, seed=0, output=tmp_path / "out", device="cpu", threads=1)


def test_memory_on_the_cpu_is_that_of_the_process_also_beside_a_gpu(mixtures, settings, tmp_path, monkeypatch):
    for name in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, name, lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    settings["training"] |= {"epochs": 1}
    result = train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)
    assert result["peak_memory"]["bytes"] > 1e7


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_one_sentence(mixtures, settings, tmp_path, seed):
    with pytest.raises(InputError, match=rf"the seed is {seed}, but must be from 0 to 4294967295"):
        train(mixtures, settings=settings, seed=seed, output=tmp_path, device="cpu")


def test_one_class_is_nothing_to_tell_apart(settings, tmp_path):
    path = make_mixtures(tmp_path / "one.safetensors", classes=1)
    with pytest.raises(InputError, match="toy has one class, line: there is nothing to tell apart"):
        train(path, settings=settings, seed=0, output=tmp_path / "out", device="cpu", threads=1)


def test_bad_network_settings_are_one_sentence(mixtures, settings, tmp_path):
    settings["network"]["layrs"] = 1
    with pytest.raises(InputError, match=r"network cannot be built.*layrs"):
        train(mixtures, settings=settings, seed=0, output=tmp_path / "out", device="cpu")


def test_a_covariance_that_is_not_positive_definite_is_named(mixtures, settings, tmp_path):
    def spoil(tensors):
        tensors["covariances"][5, 1] *= -1

    rewrite(mixtures, mixtures, spoil)
    with pytest.raises(InputError, match=r"'shape5' has a covariance that is not positive definite \(1 of 40 shapes\)"):
        train(mixtures, settings=settings, seed=0, output=tmp_path / "out", device="cpu")


@pytest.mark.faults
def test_a_layer_whose_operation_refuses_its_values_is_named(mixtures, settings, tmp_path):
    settings["training"]["learning_rate"] = 1e8  # Adam's first step leaves float32's range of covariances
    with pytest.raises(NonFiniteError, match=r"step 2 in epoch 1: the output of layer 'blocks\.\d+' is not finite"):
        train(mixtures, settings=settings, seed=0, output=tmp_path, device="cpu", threads=1)


def test_a_training_learns_sizes_and_frequencies(mixtures, settings, tmp_path):
    """Of the objects that it trains on, of which only two are here of the second class."""

    def leave_most_out(tensors):
        tensors["split"][((tensors["labels"] == 1) & (tensors["split"] == TRAIN)).nonzero()[2:]] = TEST

    rewrite(mixtures, mixtures, leave_most_out)
    settings["network"] |= {"size": 0.5}
    settings["training"] |= {"epochs": 1, "validation_fraction": 0.0}
    losses = []
    for amount in (0.0, 8.0):
        settings["training"] |= {"logit_adjustment": amount}
        folder = tmp_path / str(amount)
        result = train(mixtures, settings=settings, seed=0, output=folder, device="cpu", threads=1)
        losses.append(result["metrics"]["train_loss"])
        data, (tensors, _) = read_split(mixtures, TRAIN), load_tensors(folder / "model.safetensors")
        sizes = Sizes(len(data.class_names))
        sizes.learn_(data.inputs, data.labels, 0)
        assert not torch.equal(sizes.means[0], sizes.means[1])
        for name, value in sizes.state_dict().items():
            torch.testing.assert_close(tensors[f"sizes.{name}"], value, msg=name)
    assert losses[1] != pytest.approx(losses[0], rel=0.1)  # equal where classes are equally frequent
