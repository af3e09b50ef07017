"""Objects in memory, split into training and validation, in batches whose order a resumed run repeats."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor

from gmcn import ranks
from gmcn.data.folds import descriptors, fold_of, near_duplicates
from gmcn.data.objects import (
    POINTS,
    TRAIN,
    Batches,
    Inputs,
    ObjectSet,
    batches_in_order,
    count,
    device_of,
    each,
    of_classes,
    read_split,
    select,
)
from gmcn.errors import InputError
from gmcn.training.settings import TrainingSettings

log = logging.getLogger(__name__)


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:  # labels [S]
    """Indices to train on and to validate on: the same fraction of each class, drawn from ``seed`` alone.

    Each class of two or more gives at least one to validation, and keeps at least one.
    """
    generator = torch.Generator().manual_seed(seed)
    train, validation = [], []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator, device="cpu")]
        count = min(max(1, round(fraction * len(members))), len(members) - 1) if fraction else 0
        validation.append(members[:count])
        train.append(members[count:])
    return torch.cat(train).sort().values, torch.cat(validation).sort().values


def _classes(data: ObjectSet) -> Tensor:  # [S]
    return torch.zeros(len(data), dtype=torch.int64) if data.labels is None else data.labels


def fold_split(data: ObjectSet, settings: TrainingSettings, points: str | os.PathLike | None) -> tuple[Tensor, Tensor]:
    """Indices to train on and to validate on in the fold of the settings.

    Duplicates are looked for in ``points``, which the objects were fitted to, so that all fits have the same folds.
    Raises :class:`InputError` where these are needed and not given.
    """
    fold, folds = settings.place
    groups, found = None, "near-duplicates ignored"
    if settings.fold_duplicates == "together":
        fitted = data.metadata.get("fit") is not None
        if fitted and points is None:
            raise InputError(
                "training.fold looks for near-duplicates in the points that were fitted: name these with --points, or "
                "set training.fold_duplicates to ignored"
            )
        sampled = of_classes(read_split(points, TRAIN), settings.classes) if fitted and points is not None else data
        groups = near_duplicates(*descriptors(sampled.inputs, sampled.kind == POINTS))
        sizes = groups.bincount()
        found = f"{int(sizes[sizes > 1].sum())} near-duplicates in {int((sizes > 1).sum())} groups kept together"
    train, validation = fold_of(_classes(data), fold, folds, groups)
    log.info("fold %d of %d: %d train, %d judge; %s", fold, folds, len(train), len(validation), found)
    return train, validation


def generator_of(seed: int, epoch: int, position: int) -> torch.Generator:
    """A generator of the CPU for one batch, unrelated to those of other batches, epochs and seeds."""
    # torch reads 32 bits of a seed, which have to depend on all three. The seed comes last: it may be longer.
    mixed = np.random.SeedSequence((position, epoch, seed)).generate_state(1)
    return torch.Generator().manual_seed(int(mixed[0]))


class BatchLoader:
    """Shuffled batches of objects by index tensors; what Lightning calls a stateful loader.

    The order of an epoch is a function of ``(seed, epoch)``, and ``state_dict`` is the place within it. All
    batches of an epoch are of one size, or smaller by one: none is too small for batch statistics, and no
    object is left out. ``prepare`` makes of a batch of the inputs, or of the ``sources`` in their place, what is
    trained on, by a generator that is a function of ``(seed, epoch, position)``. Every rank is given whole batches, of
    ``smallest`` objects at least, and takes its share of each.
    """

    def __init__(
        self,
        inputs: Inputs,  # of S objects
        labels: Tensor | None,  # [S]
        batch_size: int,
        *,
        seed: int,
        early_batches: int | None = None,
        prepare: Callable[[Inputs, torch.Generator], Inputs] = lambda inputs, _: inputs,
        sources: Inputs | None = None,  # of S objects
        smallest: int = 2,
    ) -> None:
        self.inputs, self.labels, self.seed, self.prepare = inputs, labels, seed, prepare
        self.sources = inputs if sources is None else sources
        self.count = count(inputs)
        # One object alone has no batch statistics.
        self.batches = max(1, min(-(-self.count // batch_size), self.count // smallest))
        self.length = min(self.batches, early_batches or self.batches)
        self.epoch = 0
        self.position = 0

    @property
    def sampler(self) -> BatchLoader:
        """Lightning looks for ``set_epoch`` here."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of ``epoch``, or stay where a checkpoint has put us within it."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """The place within the epoch."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Return to a place that ``state_dict`` gave."""
        self.epoch, self.position = state["epoch"], state["position"]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Inputs, Tensor | None]]:
        # A generator: Lightning makes the iterator before it calls set_epoch, so nothing may be read until then.
        batches = self._divided(self.epoch)
        while self.position < self.length:
            chosen, place = batches[self.position], (self.seed, self.epoch, self.position)
            self.position += 1
            sources = select(self.sources, chosen.to(device_of(self.sources)))
            inputs = self.prepare(sources, generator_of(*place))
            yield inputs, None if self.labels is None else self.labels[chosen]

    def unvaried(self) -> Iterator[tuple[Inputs, Tensor | None]]:
        """The batches of the first epoch, of the inputs as they are: no views, nothing augmented."""
        for chosen in self._divided(0)[: self.length]:
            yield select(self.inputs, chosen), None if self.labels is None else self.labels[chosen]

    def _divided(self, epoch: int) -> tuple[Tensor, ...]:
        """The objects of each batch of an epoch."""
        # A million epochs lie between the generators of two seeds.
        generator = torch.Generator().manual_seed(self.seed * 1_000_000 + epoch)
        order = torch.randperm(self.count, generator=generator, device="cpu").to(device_of(self.inputs))
        return order.tensor_split(self.batches)


class TrainingData(L.LightningDataModule):
    """Training and validation batches of an object set, on the training device; ``sources`` stay where they are."""

    def __init__(
        self,
        train: ObjectSet,
        *,
        batch_size: int,
        seed: int,
        validation_fraction: float = 0.0,
        early_batches: int | None = None,
        prepare: Callable[[Inputs, torch.Generator], Inputs] = lambda inputs, _: inputs,
        sources: Inputs | None = None,  # what is prepared in the place of the set's inputs
        split: tuple[Tensor, Tensor] | None = None,  # indices, where they are not drawn from the seed
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        split = split or stratified_split(_classes(train), validation_fraction, seed)
        self.train_indices, self.validation_indices = split
        smallest = max(2, ranks.size())
        if len(self.train_indices) < smallest:
            left = len(self.train_indices)
            raise InputError(f"{left} of the shapes are left to train on; the data set needs {smallest} or more")

        def part(indices: Tensor) -> tuple[Inputs, Tensor | None]:
            labels = None if train.labels is None else train.labels[indices].to(device)
            return each(select(train.inputs, indices), lambda tensor: tensor.to(device)), labels

        self.train_loader = BatchLoader(
            *part(self.train_indices),
            batch_size,
            seed=seed,
            early_batches=early_batches,
            prepare=prepare,
            sources=None if sources is None else select(sources, self.train_indices),
            smallest=smallest,
        )
        self.validation_batches = Batches()
        if len(self.validation_indices):
            self.validation_batches = batches_in_order(*part(self.validation_indices), batch_size)

    def train_dataloader(self) -> BatchLoader:
        """Batches to train on."""
        return self.train_loader

    def val_dataloader(self) -> Batches:
        """Batches to validate on: a part of the training split, never the test split."""
        return self.validation_batches
