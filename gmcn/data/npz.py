"""Point clouds in one .npz archive: points (or points_u16), label, is_train, name, class_names."""

from __future__ import annotations

import functools
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.containers import DAMAGE
from gmcn.data.samples import Row, Samples
from gmcn.errors import InputError

# points_u16 are coordinates in [-1, 1], stored as 16-bit integers: points_u16 / 65535 * 2 - 1.
_U16 = 65535


def read_npz(path: Path, settings: dict[str, Any]) -> Samples:
    """All clouds of the archive, in its order; their points are read one cloud after the other.

    Arrays: points [S, M, 3] float32, or points_u16 [S, M, 3] uint16 (coordinates in [-1, 1]); label [S], index
    into class_names [C]; is_train [S] bool; name [S] (text as numpy bytes or str). ``settings["points"]`` is not
    more than M: the first ones are taken.

    Raises:
        InputError: a damaged archive, a missing array, sizes that disagree.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            known = set(archive.files)
            arrays = {key: archive[key] for key in ("label", "is_train", "name", "class_names") if key in known}
        stored = "points" if "points" in known else "points_u16"
        missing = sorted({"label", "is_train", "name", "class_names"} - known)
        missing += [] if stored in known else ["points (or points_u16)"]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(known))}")
        with zipfile.ZipFile(path) as archive, archive.open(f"{stored}.npy") as file:
            shape, _ = _header(file)
    except InputError:
        raise
    except (*DAMAGE, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        raise InputError(f"the points of {path} have shape {shape}; they must be (clouds, points, 3)")
    for key in ("label", "is_train", "name"):
        if arrays[key].shape != shape[:1]:
            raise InputError(f"'{key}' of {path} has shape {arrays[key].shape} for {shape[0]} clouds")
    if arrays["label"].dtype.kind not in "iu" or arrays["is_train"].dtype.kind not in "biu":
        types = f"{arrays['label'].dtype} and {arrays['is_train'].dtype}"
        raise InputError(f"'label' and 'is_train' of {path} are {types}; they must be whole numbers and booleans")
    count = settings.get("points", shape[1])
    if count > shape[1]:
        raise InputError(f"the clouds of {path} have {shape[1]} points, fewer than {count}; ask for fewer `points`")
    return Samples(
        labels=arrays["label"].astype(np.int64),
        split=1 - arrays["is_train"].astype(bool).astype(np.uint8),
        names=_text(arrays["name"]),
        class_names=_text(arrays["class_names"]),
        items=functools.partial(_rows, path, f"{stored}.npy"),
        load=functools.partial(_load, count),
    )


def _rows(path: Path, member: str) -> Iterator[np.ndarray]:
    """The rows of an array in the archive, never all of them at once."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            shape, dtype = _header(file)
            size = math.prod(shape[1:]) * dtype.itemsize
            for _ in range(shape[0]):
                yield np.frombuffer(file.read(size), dtype).reshape(shape[1:])
    except (*DAMAGE, ValueError) as error:
        raise _unreadable(path, error) from error


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a .npy file, of which the data follow."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "fiu" or (fortran and len(shape) > 1):
        order = "Fortran" if fortran else "C"
        raise ValueError(f"points are {dtype} in {order} order, not numbers in C order")
    return shape, dtype


def _load(count: int, stored: np.ndarray) -> Row:
    points = stored[:count].astype(np.float32)
    return {"points": points / _U16 * 2 - 1 if stored.dtype == np.uint16 else points}


def _text(values: np.ndarray) -> list[str]:
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a readable .npz of plain arrays ({error}); download it again")
