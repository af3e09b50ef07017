"""What every reader returns: points or images with labels, split and names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gmcn.errors import InputError

TRAIN, TEST = 0, 1


@dataclass
class Samples:
    """S labelled shapes. Exactly one of ``points`` and ``images`` is set."""

    labels: np.ndarray  # [S] int64, index into class_names
    split: np.ndarray  # [S] uint8, 0 train, 1 test
    names: list[str]  # S
    class_names: list[str]
    points: np.ndarray | None = None  # [S, M, 3] float32
    images: np.ndarray | None = None  # [S, H, W] uint8

    def check(self, source: str) -> None:
        """:class:`InputError` for a value that is not finite, a label without a class, an empty split."""
        if self.points is not None:
            bad = ~np.isfinite(self.points).all(axis=(1, 2))
            if bad.any():
                shape = int(bad.argmax())
                row = int((~np.isfinite(self.points[shape]).all(axis=-1)).argmax())
                raise InputError(
                    f"'{self.names[shape]}' (cloud {shape} of {source}) has a coordinate that is not finite in "
                    f"point {row}; repair or remove that object"
                )
        outside = (self.labels < 0) | (self.labels >= len(self.class_names))
        if outside.any():
            shape = int(outside.argmax())
            raise InputError(
                f"'{self.names[shape]}' ({source}, row {shape}) has label {self.labels[shape]}, but there are "
                f"{len(self.class_names)} classes; check the labels or class_names"
            )
        for part, name in ((TRAIN, "training"), (TEST, "test")):
            if not (self.split == part).any():
                raise InputError(f"{source} has no {name} object; a data set needs both parts of the split")


def normalize(points: np.ndarray) -> np.ndarray:
    """Each cloud with its bounding box centred on the origin, then scaled into the unit sphere.

    points [S, M, 3], any units -> [S, M, 3] float32. A cloud whose points are all equal is centred only.
    """
    wide = points.astype(np.float64)
    wide -= (wide.min(axis=1, keepdims=True) + wide.max(axis=1, keepdims=True)) / 2
    radius = np.linalg.norm(wide, axis=-1).max(axis=1)[:, None, None]
    return (wide / np.where(radius > 0, radius, 1)).astype(np.float32)
