"""The objects of one split of an artifact: mixtures, images, points or vectors, with or without labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmcn.artifacts import load_tensors
from gmcn.data.samples import places_of
from gmcn.errors import InputError, foreign
from gmcn.mixture import Mixture
from gmcn.ops.checks import check_mixture

TRAIN, TEST = 0, 1
MIXTURES, IMAGES, POINTS, VECTORS = "mixtures", "images", "points", "vectors"
Inputs = Mixture | Tensor  # of S objects: mixtures [S, N], images [S, H, W], points [S, M, D] or vectors [S, d]
# The number of dimensions of such a tensor, and the word for it.
_TENSORS = {IMAGES: (3, "images [S, H, W]"), POINTS: (3, "points [S, M, D]"), VECTORS: (2, "vectors [S, d]")}


def each(inputs: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """``function`` of every tensor of the inputs."""
    return inputs.map(function) if isinstance(inputs, Mixture) else function(inputs)


def count(inputs: Inputs) -> int:
    """The number of objects."""
    return len(inputs.weights) if isinstance(inputs, Mixture) else len(inputs)


def device_of(inputs: Inputs) -> torch.device:
    """The device of the inputs."""
    return (inputs.weights if isinstance(inputs, Mixture) else inputs).device


def shape_of(one: Inputs) -> tuple[int, ...]:
    """The shape of a single object: of a mixture [N]."""
    return tuple((one.weights if isinstance(one, Mixture) else one).shape)


def stack(objects: Sequence[Inputs]) -> Inputs:
    """Single objects of one shape as one batch."""
    if isinstance(objects[0], Mixture):
        return Mixture(*(torch.stack(tensors) for tensors in zip(*objects, strict=True)))
    return torch.stack(objects)


def select(inputs: Inputs, indices: Tensor) -> Inputs:  # indices [I]
    """The objects at ``indices``."""
    return each(inputs, lambda tensor: tensor[indices])


@dataclass(frozen=True)
class ObjectSet:
    """S objects of one ``kind``, with their names and what their artifact says of itself.

    ``labels`` are places in the metadata's ``class_names``; None where the artifact has no classes.
    """

    kind: str
    inputs: Inputs
    labels: Tensor | None  # [S]
    names: list[str]
    metadata: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels; empty where there are none."""
        return self.metadata.get("class_names", [])

    @property
    def traits(self) -> dict[str, Any]:
        """Arguments for a network: ``classes``, ``dim`` and ``shape``, that of one object without its D."""
        traits: dict[str, Any] = {"classes": len(self.class_names)} if self.class_names else {}
        if isinstance(self.inputs, Mixture):
            return traits | {"dim": self.inputs.dim, "shape": [self.inputs.components]}
        if self.kind == POINTS:
            return traits | {"dim": self.inputs.shape[2], "shape": [self.inputs.shape[1]]}
        return traits | {"dim": self.inputs.dim() - 1, "shape": list(self.inputs.shape[1:])}

    def __len__(self) -> int:
        return len(self.names)


def of_classes(data: ObjectSet, classes: Sequence[int | str] | None) -> ObjectSet:
    """The objects of these classes (:func:`places_of`), all where it is None; names and numbers of classes stay."""
    if classes is None:
        return data
    places = places_of(classes, data.class_names)
    assert data.labels is not None  # there are class names
    chosen = torch.isin(data.labels, torch.tensor(places)).nonzero().squeeze(1)
    if not len(chosen):
        raise InputError(f"the data have no objects of the classes {', '.join(map(str, classes))} of training.classes")
    names = [data.names[index] for index in chosen.tolist()]
    return ObjectSet(data.kind, select(data.inputs, chosen), data.labels[chosen], names, data.metadata)


def trained_classes(metadata: Mapping[str, Any] | None) -> list[int | str] | None:
    """The classes that a network was trained on, as its file says them; None for all."""
    return ((metadata or {}).get("settings") or {}).get("training", {}).get("classes")


def kind_of(tensors: Mapping[str, Any]) -> str | None:
    """The kind of the objects in an artifact with these tensors; None if it is not one of ours."""
    return MIXTURES if "weights" in tensors else next((kind for kind in _TENSORS if kind in tensors), None)


def read_split(path: str | os.PathLike, split: int) -> ObjectSet:
    """The training (0) or test (1) objects of a mixtures or points artifact; the other split is dropped unseen.

    Raises :class:`InputError` where the file lacks a tensor, the split is empty, a value is not finite or a
    covariance not positive definite.
    """
    tensors, metadata = load_tensors(path)
    kind = kind_of(tensors)
    missing = {*(Mixture._fields if kind == MIXTURES else ()), "split"} - tensors.keys()
    missing |= {"labels"} - tensors.keys() if "class_names" in metadata else set()
    if kind is None or missing or ("labels" in tensors and "class_names" not in metadata):
        lacks = sorted(missing) or ["class_names" if kind else "mixtures, images, points or vectors"]
        raise InputError(f"{path} is no artifact of objects: it lacks {', '.join(lacks)}; make it with {_maker(kind)}")
    with foreign(f"{path} is no artifact of objects"):
        chosen = (tensors["split"] == split).nonzero().squeeze(1)
        if not len(chosen):
            part = "test" if split else "training"
            raise InputError(f"{path} holds no {part} shapes; make it again with {_maker(kind)}")
        names = metadata.get("names") or [str(index) for index in range(len(tensors["split"]))]
        names = [str(names[index]) for index in chosen.tolist()]
        labels = None
        if "class_names" in metadata:
            labels, classes = tensors["labels"][chosen].long(), len(metadata["class_names"])
            if labels.shape != chosen.shape or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
                raise InputError(
                    f"{path} has labels that are none of its {classes} classes; make it again with {_maker(kind)}"
                )
        if kind == MIXTURES:
            inputs = check_mixture(Mixture(*(tensors[name][chosen] for name in Mixture._fields)))
            check_mixtures(path, inputs, names)
        else:
            inputs = _checked(tensors[kind][chosen], kind, names, path)
    return ObjectSet(kind, inputs, labels, names, metadata)


def _maker(kind: str | None) -> str:
    return "`gmcn fit`" if kind in (MIXTURES, None) else "`gmcn sample`"


def _checked(tensor: Tensor, kind: str, names: list[str], path: str | os.PathLike) -> Tensor:
    dimensions, wanted = _TENSORS[kind]
    if tensor.dim() != dimensions:
        raise InputError(f"{path}: its {kind} are {list(tensor.shape)}, not {wanted}; make it again with `gmcn sample`")
    bad = ~tensor.flatten(1).isfinite().all(1)
    if bad.any():
        raise InputError(
            f"{path}: '{names[int(bad.nonzero()[0])]}' holds values that are not finite ({int(bad.sum())} of "
            f"{len(names)} objects); sample the data set again"
        )
    return tensor


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


class Batches(list):
    """A list of (inputs, labels); a type of its own because Lightning takes a list for many loaders."""


def batches_in_order(inputs: Inputs, labels: Tensor | None, batch_size: int) -> Batches:  # of S objects, labels [S]
    """All objects in batches, in the order of the data; labels None where there are none."""
    places = torch.arange(count(inputs)).split(batch_size)
    return Batches(
        (
            each(inputs, lambda tensor, part=part: tensor[part[0] : part[-1] + 1]),
            None if labels is None else labels[part[0] : part[-1] + 1],
        )
        for part in places
    )
