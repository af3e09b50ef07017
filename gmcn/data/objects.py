"""The mixtures of one split of a mixtures artifact."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gmcn.artifacts import load_tensors
from gmcn.errors import InputError, foreign
from gmcn.mixture import Mixture
from gmcn.ops.checks import check_mixture

TRAIN, TEST = 0, 1
Inputs = Mixture | Tensor  # of S objects: mixtures [S, N], or a tensor [S, ...]


def each(inputs: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """``function`` of every tensor of the inputs."""
    return inputs.map(function) if isinstance(inputs, Mixture) else function(inputs)


@dataclass(frozen=True)
class MixtureSet:
    """One split of a mixtures artifact: S mixtures with their labels and names."""

    mixture: Mixture  # [S, N]
    labels: Tensor  # [S]
    names: list[str]
    metadata: dict

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        return self.metadata["class_names"]

    @property
    def dim(self) -> int:
        """Number of spatial dimensions D."""
        return self.mixture.dim

    def __len__(self) -> int:
        return len(self.labels)


def read_split(path: str | os.PathLike, split: int) -> MixtureSet:
    """The training (0) or test (1) mixtures of an artifact; the other split is dropped unseen.

    Raises :class:`InputError` where the file lacks a tensor, the split is empty, a value is not finite or a
    covariance not positive definite.
    """
    tensors, metadata = load_tensors(path)
    missing = {"weights", "positions", "covariances", "labels", "split"} - tensors.keys()
    if missing or "class_names" not in metadata:
        raise InputError(
            f"{path} is no mixtures artifact: it lacks {', '.join(sorted(missing)) or 'class_names'}; "
            "make it with `gmcn fit`"
        )
    with foreign(f"{path} is no mixtures artifact"):
        chosen = (tensors["split"] == split).nonzero().squeeze(1)
        if not len(chosen):
            raise InputError(f"{path} holds no {'test' if split else 'training'} shapes; make it again with `gmcn fit`")
        mixture = check_mixture(Mixture(*(tensors[name][chosen] for name in Mixture._fields)))
        labels, classes = tensors["labels"][chosen].long(), len(metadata["class_names"])
        if labels.shape != chosen.shape or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise InputError(f"{path} has labels that are none of its {classes} classes; make it again with `gmcn fit`")
        names = metadata.get("names") or [str(index) for index in range(len(tensors["split"]))]
        names = [str(names[index]) for index in chosen.tolist()]
        check_mixtures(path, mixture, names)
    return MixtureSet(mixture, labels, names, metadata)


def check_mixtures(path: str | os.PathLike, mixture: Mixture, names: list[str]) -> None:  # mixture [S, N], names S
    """:class:`InputError` where a value is not finite or a covariance not positive definite."""
    finite = torch.stack([tensor.flatten(1).isfinite().all(1) for tensor in mixture]).all(0)
    _refuse(path, names, ~finite, "holds values that are not finite")
    valid = (torch.linalg.cholesky_ex(mixture.covariances).info == 0).all(1)
    _refuse(path, names, ~valid, "has a covariance that is not positive definite")


def _refuse(path: str | os.PathLike, names: list[str], bad: Tensor, fault: str) -> None:  # bad [S]
    if bad.any():
        first = names[int(bad.nonzero()[0])]
        raise InputError(
            f"{path}: the mixture of '{first}' {fault} ({int(bad.sum())} of {len(names)} shapes); "
            "fit the data set again"
        )


def select(mixture: Mixture, indices: Tensor) -> Mixture:  # mixture [S, N], indices [I]
    """The mixtures at ``indices`` of the first dimension."""
    return mixture.map(lambda tensor: tensor[indices])


class Batches(list):
    """A list of (mixture [B, N], labels [B]); a type of its own because Lightning takes a list for many loaders."""


def batches_in_order(
    mixture: Mixture,  # [S, N]
    labels: Tensor,  # [S]
    batch_size: int,
) -> Batches:
    """All shapes in batches, in the order of the data."""
    parts = zip(*(tensor.split(batch_size) for tensor in mixture), strict=True)
    return Batches(zip((Mixture(*part) for part in parts), labels.split(batch_size), strict=True))
