"""Augmented batches: a function of seed, epoch and place, for training alone; and without a trace where it is off."""

from __future__ import annotations

import pytest
import torch

from gmcn import tasks
from gmcn.data import Augmentation
from gmcn.data.objects import TRAIN, read_split, select
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.training import TrainingSettings
from gmcn.training.checkpoints import training_key
from gmcn.training.datamodule import BatchLoader, TrainingData, generator_of

OPTIONS = {"batch_size": 8, "seed": 0, "validation_fraction": 0.2}


def preparing(augmentation: Augmentation | None):
    return tasks.objective(TrainingSettings(augmentation=augmentation)).prepare


def equal(first: Mixture, second: Mixture) -> bool:
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def shifted(seed: int = 0) -> BatchLoader:
    """Twenty times the same component at the origin, of standard deviation 1: a position is the shift drawn for it."""
    one = Mixture(torch.ones(20, 1), torch.zeros(20, 1, 2), torch.eye(2).expand(20, 1, 2, 2))
    return BatchLoader(one, torch.zeros(20), 4, seed=seed, prepare=preparing(Augmentation(translation=0.5)))


def epoch(loader: BatchLoader, number: int) -> list[list[list[float]]]:
    """The position of each shape of each batch."""
    loader.set_epoch(number)
    return [mixture.positions[:, 0].tolist() for mixture, _ in loader]


def test_it_depends_on_seed_epoch_and_place_only():
    loader = shifted()
    first, second = epoch(loader, 0), epoch(loader, 1)
    torch.rand(7)  # other random numbers are drawn in between
    assert epoch(loader, 0) == first
    assert epoch(shifted(), 1) == second
    drawn = [x for batches in (first, second, epoch(shifted(seed=1), 0)) for batch in batches for x, _ in batch]
    assert len(set(drawn)) == len(drawn) == 60, "no two shapes, batches, epochs or seeds alike"
    assert max(map(abs, drawn)) <= 0.5


def test_it_continues_in_mid_epoch():
    whole = epoch(shifted(), 3)
    loader = shifted()
    loader.set_epoch(3)
    batches = iter(loader)
    next(batches), next(batches)
    resumed = shifted()
    resumed.load_state_dict(loader.state_dict())
    assert epoch(resumed, 3) == whole[2:]


def test_generators_differ_where_any_number_does():
    places = [(seed, epoch, place) for seed in (0, 1, 2**32) for epoch in range(10) for place in range(10)]
    assert len({torch.rand(1, generator=generator_of(*place)).item() for place in places}) == 300


def test_off_gives_the_data_bit_for_bit(mixtures, monkeypatch):
    monkeypatch.setattr("gmcn.tasks.task.augment", None)
    data = read_split(mixtures, TRAIN)
    module = TrainingData(data, prepare=preparing(None), **OPTIONS)
    module.train_loader.set_epoch(2)
    order = module.train_indices[torch.randperm(32, generator=torch.Generator().manual_seed(2))]
    for (mixture, labels), chosen in zip(module.train_loader, order.tensor_split(4), strict=True):
        assert equal(mixture, select(data.inputs, chosen))
        assert torch.equal(labels, data.labels[chosen])


def test_only_training_batches_are_augmented_and_their_order_stays(mixtures):
    data = read_split(mixtures, TRAIN)
    on, off = TrainingData(data, prepare=preparing(Augmentation("any")), **OPTIONS), TrainingData(data, **OPTIONS)
    for (mixture, labels), (other, others) in zip(on.val_dataloader(), off.val_dataloader(), strict=True):
        assert torch.equal(labels, others)
        assert equal(mixture, other)
    for (mixture, labels), (other, others) in zip(on.train_dataloader(), off.train_dataloader(), strict=True):
        assert torch.equal(labels, others)
        assert torch.equal(mixture.weights, other.weights)
        assert ((mixture.positions - other.positions).abs().amax((1, 2)) > 1e-3).all()


def test_the_data_themselves_stay_as_they_are(mixtures):
    data = read_split(mixtures, TRAIN)
    module = TrainingData(data, prepare=preparing(Augmentation("any", scaling=(0.5, 2), dropping=0.5)), **OPTIONS)
    before = module.train_loader.inputs.map(torch.clone)
    for _ in module.train_dataloader():
        pass
    assert equal(module.train_loader.inputs, before)


def test_an_axis_that_the_data_lack_is_refused_before_anything_is_trained(mixtures):
    with pytest.raises(InputError, match="the data have 2 dimensions"):
        tasks.objective(TrainingSettings(augmentation=Augmentation(reflection=(2,)))).check(read_split(mixtures, TRAIN))


def test_checkpoints_belong_to_their_augmentation(mixtures, settings):
    def key(**training) -> str:
        return training_key(mixtures, {**settings, "training": {**settings["training"], **training}}, seed=0)

    assert key() == key(augmentation=None)
    assert len({key(), key(augmentation={"rotation": "any"}), key(augmentation={"rotation": "axis"})}) == 3
