"""Point clouds in one .npz archive: points (or points_u16), label, is_train, name, class_names; or bare arrays."""

from __future__ import annotations

import functools
import math
import zipfile
import zlib
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


def read_arrays(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Points [M, D] or [S, M, D] of an .npy or .npz, D = 2 or 3, and the names of the S clouds where they have some.

    An .npz holds one array, or ``points`` (or ``points_u16``) and perhaps ``name``. Raises :class:`InputError` for
    anything else.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = {"points": loaded}
        keys = [key for key in ("points", "points_u16") if key in loaded] or list(loaded)
        arrays = {key: loaded[key] for key in {*keys, "name"} & set(loaded)}
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable {path.suffix} of plain arrays ({error})") from error
    if len(keys) != 1:
        raise InputError(f"{path} must hold one array, or one called 'points'; it has {', '.join(keys) or 'none'}")
    points, names = arrays[keys[0]], arrays.get("name")
    if points.dtype.kind not in "iuf" or points.ndim not in (2, 3) or points.shape[-1] not in (2, 3):
        raise InputError(
            f"the array of {path} is {points.dtype} {list(points.shape)}; points are numbers [points, 2 or 3], or "
            "[clouds, points, 2 or 3]"
        )
    if names is not None and (points.ndim == 2 or names.shape != points.shape[:1]):
        names = None
    if keys[0] == "points_u16":
        points = _from_u16(points)
    return points, None if names is None else _text(names)


def _from_u16(stored: np.ndarray) -> np.ndarray:
    return stored.astype(np.float32) / _U16 * 2 - 1


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
    stored = stored[:count]
    return {"points": _from_u16(stored) if stored.dtype == np.uint16 else stored.astype(np.float32)}


def _text(values: np.ndarray) -> list[str]:
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a readable .npz of plain arrays ({error}); download it again")
