"""Trainings by plain steps, for figures that compare flows: no schedule, no validation, measured after each epoch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gmcn.data.objects import IMAGES, TEST, TRAIN, VECTORS, read_split
from gmcn.errors import InputError
from gmcn.models.mlp import scaled

EVALUATED = 1000  # test objects at a time


@dataclass(frozen=True)
class Vectors:
    """Both splits of a data set, each object as one vector of mean zero and variance one."""

    train: Tensor  # [N, d]
    labels: Tensor  # [N]
    test: Tensor  # [T, d]
    test_labels: Tensor  # [T]
    classes: int


def read_vectors(points: str | os.PathLike) -> Vectors:
    """The objects of a points artifact; InputError unless they are labelled images or vectors."""
    train, test = (read_split(points, split) for split in (TRAIN, TEST))
    if train.labels is None or test.labels is None or train.kind not in (IMAGES, VECTORS):
        raise InputError(f"{points} holds no labelled images or vectors, of which this figure is made")
    first, second = (scaled(data.inputs.flatten(1).float(), "standardised") for data in (train, test))
    return Vectors(first, train.labels, second, test.labels, len(train.class_names))


def train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Vectors,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    after: Callable[[], Any],
) -> list[Any]:
    """What ``after`` gives before the first epoch and after each. Batches depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    found = [after()]
    for _ in range(epochs):
        for batch in torch.randperm(len(data.labels), generator=generator).split(batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(data.train[batch]), data.labels[batch]).backward()
            optimizer.step()
        found.append(after())
    return found


@torch.no_grad()
def evaluated(network: nn.Module, data: Vectors) -> dict[str, float | None]:
    """Accuracy and cross-entropy on the test split; no number for the loss of a network that has diverged."""
    outputs = torch.cat([network(part) for part in data.test.split(EVALUATED)]).double()
    loss = functional.cross_entropy(outputs, data.test_labels)
    accuracy = (outputs.argmax(1) == data.test_labels).double().mean()
    return {"accuracy": accuracy.item(), "loss": loss.item() if loss.isfinite() else None}
