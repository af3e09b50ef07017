"""Point clouds in one .npz archive: points (or points_u16), label, is_train, name, class_names."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.samples import Samples
from gmcn.errors import InputError

# points_u16 are coordinates in [-1, 1], stored as 16-bit integers: points_u16 / 65535 * 2 - 1.
_U16 = 65535


def read_clouds(settings: dict[str, Any], files: list[Path]) -> Samples:
    """All clouds of the archive, in its order.

    Arrays: points [S, M, 3] float32, or points_u16 [S, M, 3] uint16 (coordinates in [-1, 1]); label [S], index
    into class_names [C]; is_train [S] bool; name [S] (text as numpy bytes or str).

    Raises:
        InputError: more than one file, a damaged archive, a missing array, sizes that disagree.
    """
    if len(files) != 1:
        raise InputError(f"a data set of clouds is one .npz file, not {[path.name for path in files]}")
    path = files[0]
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise InputError(f"{path} is not a readable .npz of plain arrays ({error}); download it again") from error
    missing = sorted({"label", "is_train", "name", "class_names"} - arrays.keys())
    if missing or not {"points", "points_u16"} & arrays.keys():
        missing += [] if {"points", "points_u16"} & arrays.keys() else ["points (or points_u16)"]
        raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}")
    if "points" in arrays:
        points = arrays["points"].astype(np.float32, copy=False)
    else:
        points = arrays["points_u16"].astype(np.float32) / _U16 * 2 - 1
    if points.ndim != 3 or points.shape[-1] != 3 or 0 in points.shape:
        raise InputError(f"the points of {path} have shape {points.shape}; they must be (clouds, points, 3)")
    for key in ("label", "is_train", "name"):
        if arrays[key].shape != points.shape[:1]:
            raise InputError(f"'{key}' of {path} has shape {arrays[key].shape} for {points.shape[0]} clouds")
    if arrays["label"].dtype.kind not in "iu" or arrays["is_train"].dtype.kind not in "biu":
        types = f"{arrays['label'].dtype} and {arrays['is_train'].dtype}"
        raise InputError(f"'label' and 'is_train' of {path} are {types}; they must be whole numbers and booleans")
    return Samples(
        labels=arrays["label"].astype(np.int64),
        split=1 - arrays["is_train"].astype(bool).astype(np.uint8),
        names=_text(arrays["name"]),
        class_names=_text(arrays["class_names"]),
        points=points,
    )


def _text(values: np.ndarray) -> list[str]:
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
