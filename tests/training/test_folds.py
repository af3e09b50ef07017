"""A training on a fold: who judges, and what is written of each object."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.folds import fold_of
from gmcn.data.objects import TRAIN, read_split
from gmcn.errors import InputError
from gmcn.training import TrainingSettings, train
from gmcn.training.checkpoints import training_key
from gmcn.training.datamodule import fold_split
from gmcn.training.stage import build_network
from gmcn.training.step import TrainingStep


@pytest.fixture
def points(tmp_path, mixtures):
    """Clouds of the same objects, of which the first two are the same."""
    tensors, metadata = load_tensors(mixtures)
    clouds = torch.rand(len(tensors["split"]), 50, 3, generator=torch.Generator().manual_seed(0))
    clouds *= torch.rand(len(clouds), 1, 3, generator=torch.Generator().manual_seed(1))
    clouds[2] = clouds[0].flip(0)
    kept = {name: tensors[name] for name in ("labels", "split")}
    path = tmp_path / "toy.safetensors"
    save_tensors(path, {"points": clouds, **kept}, {key: metadata[key] for key in ("class_names", "names", "dataset")})
    return path


def trained(mixtures, settings, output, fold, **more) -> dict:
    settings = {**settings, "training": {**settings["training"], "epochs": 2, "fold": fold, **more.pop("training", {})}}
    return train(mixtures, settings=settings, seed=0, output=output, device="cpu", threads=1, **more)


def test_every_object_is_judged_in_one_fold_and_copies_in_the_same(mixtures, settings, points, tmp_path, caplog):
    caplog.set_level("INFO")
    folds = [trained(mixtures, settings, tmp_path / str(k), f"{k} of 3", points=points) for k in (1, 2, 3)]
    judged = [fold["validation"]["names"] for fold in folds]
    assert sorted(name for names in judged for name in names) == sorted(f"shape{index}" for index in range(40))
    assert sum({"shape0", "shape2"} <= set(names) for names in judged) == 1
    assert "; 2 near-duplicates in 1 groups kept together" in caplog.text
    for fold, names in zip(folds, judged, strict=True):
        validation = fold["validation"]
        assert fold["shapes"] == {"train": 40 - len(names), "validation": len(names)}
        assert [int(name[5:]) % 2 for name in names] == validation["labels"]
        assert sum(validation["accuracy"]) / len(names) == pytest.approx(fold["metrics"]["validation_accuracy"])
        assert sum(validation["loss"]) / len(names) == pytest.approx(fold["metrics"]["validation_loss"])
    written = json.loads((tmp_path / "1/training.json").read_text())
    assert written["settings"]["training"]["fold"] == "1 of 3"


def test_seeds_are_judged_on_the_same_objects(mixtures, settings, points, tmp_path):
    settings = {**settings, "training": {**settings["training"], "epochs": 1, "fold": "2 of 4"}}
    arguments = {"settings": settings, "points": points, "device": "cpu", "threads": 1}
    results = [train(mixtures, seed=seed, output=tmp_path / str(seed), **arguments) for seed in (0, 1)]
    assert results[0]["validation"]["names"] == results[1]["validation"]["names"]


def test_ignored_duplicates_need_no_points(mixtures, settings, tmp_path):
    with pytest.raises(InputError, match=r"name these with --points, or set training\.fold_duplicates to ignored"):
        trained(mixtures, settings, tmp_path / "a", "1 of 2")
    result = trained(mixtures, settings, tmp_path / "a", "1 of 2", training={"fold_duplicates": "ignored"})
    tensors, _ = load_tensors(mixtures)
    _, validation = fold_of(tensors["labels"][tensors["split"] == 0].long(), 1, 2)
    assert result["validation"]["names"] == [f"shape{index}" for index in validation.tolist()]


def test_checkpoints_belong_to_their_fold(mixtures, settings):
    def key(**training) -> str:
        return training_key(mixtures, {**settings, "training": {**settings["training"], **training}}, seed=0)

    assert len({key(), key(fold="1 of 2"), key(fold="2 of 2"), key(fold="1 of 2", fold_duplicates="ignored")}) == 4


def test_points_are_not_looked_at_where_nothing_was_fitted(tmp_path):
    points, others = tmp_path / "points.safetensors", tmp_path / "others.safetensors"
    for path, count in ((points, 12), (others, 20)):
        data = torch.rand(count, 16, 3, generator=torch.Generator().manual_seed(count))
        labels = torch.arange(count) % 2
        tensors = {"points": data, "labels": labels, "split": torch.zeros(count, dtype=torch.uint8)}
        save_tensors(path, tensors, {"class_names": ["a", "b"]})
    settings = TrainingSettings(fold="1 of 3")
    wanted = fold_split(read_split(points, TRAIN), settings, None)
    found = fold_split(read_split(points, TRAIN), settings, others)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_the_fold_that_judges_does_not_steer_the_schedule(mixtures, settings):
    data = read_split(mixtures, TRAIN)
    for fold, watched in ((None, 5.0), ("1 of 2", 7.0)):
        training = TrainingSettings(schedule="plateau", fold=fold)
        module = TrainingStep(build_network(settings["network"], data, 0), training, 4)
        module.epoch_metrics = lambda: {"train_loss": 7.0, "validation_loss": 5.0}
        module.on_train_epoch_end()
        assert module.plateau.best == watched
