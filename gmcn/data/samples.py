"""What every reader returns: labelled shapes, of which each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmcn.errors import InputError

TRAIN, TEST = 0, 1
PARTS = ("train", "test")

# One shape's tensors by name: points [M, 3] float32; or images [H, W] uint8; or weights [N], positions [N, 3] and
# covariances [N, 3, 3], float32.
Row = dict[str, np.ndarray]


@dataclass
class Samples:
    """S labelled shapes: ``load`` turns each of what ``items`` gives into its tensors.

    An item, or what ``load`` raises, may be an :class:`InputError`: an object that cannot be used. Where loading is
    ``costly`` it can be done in other processes; ``load`` is then a function (or partial) that these can import.
    """

    labels: np.ndarray  # [S] int64, index into class_names
    split: np.ndarray  # [S] uint8, 0 train, 1 test
    names: list[str]  # S
    class_names: list[str]
    items: Callable[[], Iterable[Any]]  # gives S items in the same order
    load: Callable[[Any], Row]
    costly: bool = False

    def __iter__(self) -> Iterator[Row | InputError]:
        """The shapes in order, each as its tensors or as what is wrong with it."""
        return (attempt(self.load, item) for item in self.items())

    def read(self, name: str = "points") -> np.ndarray:  # [S, ...]
        """One tensor of all shapes, in memory. Raises the first bad object's :class:`InputError`."""
        rows = []
        for row in self:
            if isinstance(row, InputError):
                raise row
            rows.append(row[name])
        return np.stack(rows)

    def check(self, source: str) -> None:
        """:class:`InputError` for a label without a class."""
        outside = (self.labels < 0) | (self.labels >= len(self.class_names))
        if outside.any():
            shape = int(outside.argmax())
            raise InputError(
                f"'{self.names[shape]}' ({source}, row {shape}) has label {self.labels[shape]}, but there are "
                f"{len(self.class_names)} classes; check the labels or class_names"
            )


def attempt(load: Callable[[Any], Row], item: Any) -> Row | InputError:
    """The shape of an item, or the error that says why there is none."""
    if isinstance(item, InputError):
        return item
    try:
        return load(item)
    except InputError as error:
        return error


def as_points(item: np.ndarray) -> Row:
    """``load`` for items that are points already."""
    return {"points": item}


def as_image(item: np.ndarray) -> Row:
    """``load`` for items that are images already."""
    return {"images": item}


def fault_of(row: Row) -> str | None:
    """What is wrong with the values of a shape, if anything."""
    for name, values in row.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = int(np.argwhere(~np.isfinite(values))[0, 0])
            return f"a value of its {name} is not finite, in row {place}"
    return None


def normalize(points: np.ndarray) -> np.ndarray:
    """A cloud with its bounding box centred on the origin, then scaled into the unit sphere.

    points [..., M, 3], any units -> [..., M, 3] float32. A cloud whose points are all equal is centred only.
    """
    centre, radius = frame(points)
    return ((points - centre) / radius).astype(np.float32)


def frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the bounding box [..., 1, 3] and largest distance from it [..., 1, 1] of points [..., M, 3], float64.

    The distance is one where all points are equal.
    """
    wide = points.astype(np.float64)
    centre = (wide.min(axis=-2, keepdims=True) + wide.max(axis=-2, keepdims=True)) / 2
    radius = np.linalg.norm(wide - centre, axis=-1).max(axis=-1)[..., None, None]
    return centre, np.where(radius > 0, radius, 1)
