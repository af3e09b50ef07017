"""Splits and batches."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.objects import TEST, TRAIN, batches_in_order, read_split
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.training.datamodule import BatchLoader, stratified_split


def numbered(count: int) -> tuple[Mixture, torch.Tensor]:
    """Mixtures of one component whose weight is their number, and the same number as label."""
    numbers = torch.arange(count)
    weights = numbers[:, None].float()
    return Mixture(weights, weights[..., None].expand(-1, 1, 2), torch.eye(2).expand(count, 1, 2, 2)), numbers


def epoch(loader: BatchLoader, number: int) -> list[list[int]]:
    loader.set_epoch(number)
    return [labels.tolist() for _, labels in loader]


def test_batches_hold_every_shape_once_and_are_of_one_size_or_smaller_by_one():
    loader = BatchLoader(*numbered(43), 8, seed=0)
    batches = epoch(loader, 0)
    assert len(batches) == len(loader) == 6
    assert sorted(number for batch in batches for number in batch) == list(range(43))
    assert {len(batch) for batch in batches} == {7, 8}
    for mixture, labels in BatchLoader(*numbered(43), 8, seed=0):
        assert torch.equal(mixture.weights[:, 0].long(), labels)


def test_no_batch_of_one():
    """Batch normalisation refuses it."""
    for count in (2, 3, 5, 7):
        assert min(len(labels) for _, labels in BatchLoader(*numbered(count), 2, seed=0)) == 2 + (count == 3)


def test_order_depends_on_seed_and_epoch_only():
    loader = BatchLoader(*numbered(20), 4, seed=0)
    first, second = epoch(loader, 0), epoch(loader, 1)
    assert first != second
    torch.rand(7)  # other random numbers are drawn in between
    assert epoch(loader, 0) == first
    assert epoch(BatchLoader(*numbered(20), 4, seed=0), 1) == second
    assert epoch(BatchLoader(*numbered(20), 4, seed=1), 0) != first


def test_loader_continues_in_mid_epoch():
    whole = epoch(BatchLoader(*numbered(20), 4, seed=0), 3)
    loader = BatchLoader(*numbered(20), 4, seed=0)
    loader.set_epoch(3)
    batches = iter(loader)
    seen = [next(batches)[1].tolist() for _ in range(2)]
    resumed = BatchLoader(*numbered(20), 4, seed=0)
    resumed.load_state_dict(loader.state_dict())
    early = iter(resumed)  # made before set_epoch, as Lightning does it
    assert seen + [labels.tolist() for _, labels in early] == whole


def test_early_batches_end_the_epoch():
    loader = BatchLoader(*numbered(20), 4, seed=0, early_batches=2)
    assert len(loader) == 2
    assert [len(batch) for batch in epoch(loader, 0)] == [4, 4]


def test_split_takes_the_same_part_of_each_class():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 3 + [3])
    train, validation = stratified_split(labels, 0.1, seed=4)
    assert sorted(torch.cat([train, validation]).tolist()) == list(range(len(labels)))
    assert labels[validation].bincount(minlength=4).tolist() == [5, 2, 1, 0]
    assert torch.equal(validation, stratified_split(labels, 0.1, seed=4)[1])
    assert not torch.equal(validation, stratified_split(labels, 0.1, seed=5)[1])
    assert len(stratified_split(labels, 0.0, seed=4)[1]) == 0


def test_read_split_keeps_shapes_and_their_names_together(mixtures):
    tensors, metadata = load_tensors(mixtures)
    train, test = read_split(mixtures, TRAIN), read_split(mixtures, TEST)
    assert (len(train), len(test)) == (40, 12)
    assert test.names == metadata["names"][40:]
    assert torch.equal(test.inputs.positions, tensors["positions"][40:])


def test_batches_in_order():
    mixture, labels = numbered(5)
    batches = batches_in_order(mixture, labels, 2)
    assert [part.tolist() for _, part in batches] == [[0, 1], [2, 3], [4]]
    assert batches[2][0].positions.shape == (1, 1, 2)


def test_artifacts_that_cannot_serve_are_refused(mixtures):
    tensors, metadata = load_tensors(mixtures)
    save_tensors(mixtures, {**tensors, "split": torch.ones_like(tensors["split"])}, metadata)
    with pytest.raises(InputError, match="holds no training shapes"):
        read_split(mixtures, TRAIN)
    del tensors["covariances"]
    save_tensors(mixtures, tensors, metadata)
    with pytest.raises(InputError, match="lacks covariances"):
        read_split(mixtures, TRAIN)
