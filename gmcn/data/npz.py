"""Point clouds in one .npz archive: points (or points_u16), label, is_train, name, class_names; or bare arrays."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gmcn.data.containers import DAMAGE, MAX_MEMBER, content_of, open_zip, read_member
from gmcn.data.kinds import Clouds, told
from gmcn.data.samples import Row, Samples, cloud_row
from gmcn.errors import InputError, brief

# points_u16 are coordinates in [-1, 1], stored as 16-bit integers: points_u16 / 65535 * 2 - 1.
_U16 = 65535
# Files have no more numbers per point (x, y, z, colours, normals), and clouds have more points.
_FEW = 9


def read_npz(path: Path, settings: dict[str, Any]) -> Samples:
    """All clouds of the archive, in its order; their points are read one cloud after the other.

    Arrays: points [S, M, 3] float32, or points_u16 [S, M, 3] uint16 (coordinates in [-1, 1]); label [S], index
    into class_names [C]; is_train [S] bool; name [S] (text as numpy bytes or str). ``settings["points"]`` is not
    more than M: the first ones are taken, with ``drop_not_finite`` the first that are numbers.

    Raises:
        InputError: a damaged archive, a missing array, sizes that disagree.
    """
    with open_zip(path) as archive:
        known = arrays_in(archive)
        stored = "points" if "points" in known else "points_u16"
        missing = [key for key in ("class_names", "is_train", "label", "name") if key not in known]
        missing += [] if stored in known else ["points (or points_u16)"]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(known))}")
        arrays = {key: read_array(archive, key) for key in ("label", "is_train", "name", "class_names")}
    with _opened(path, f"{stored}.npy") as (_, shape, dtype):
        _coordinates(np.empty(0, dtype), stored, str(path))
    if len(shape) == 3 and shape[-1] != 3:
        check_upright(shape[1:], f"every cloud of {path}")
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        raise InputError(f"the points of {path} have shape {shape}; they must be (clouds, points, 3)")
    if arrays["class_names"].ndim != 1:
        raise InputError(f"'class_names' of {path} has shape {arrays['class_names'].shape}; it must be a list of names")
    for key in ("label", "is_train", "name"):
        if arrays[key].shape != shape[:1]:
            raise InputError(f"'{key}' of {path} has shape {arrays[key].shape} for {shape[0]} clouds")
    if arrays["label"].dtype.kind not in "iu" or arrays["is_train"].dtype.kind not in "biu":
        types = f"{arrays['label'].dtype} and {arrays['is_train'].dtype}"
        raise InputError(f"'label' and 'is_train' of {path} are {types}; they must be whole numbers and booleans")
    own = told(Clouds, settings)
    count = own.points or shape[1]
    if count > shape[1] and not own.repeat_points:
        raise InputError(
            f"the clouds of {path} have {shape[1]} points, fewer than {count}; "
            "ask for fewer `points`, or set repeat_points: true"
        )
    return Samples(
        labels=arrays["label"].astype(np.int64),
        split=1 - arrays["is_train"].astype(bool).astype(np.uint8),
        names=_text(arrays["name"]),
        class_names=_text(arrays["class_names"]),
        items=functools.partial(_rows, path, f"{stored}.npy"),
        load=functools.partial(_load, count, own, stored, str(path)),
    )


def read_arrays(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Points [M, D] or [S, M, D] of an .npy or .npz, D = 2 or 3, and the names of the S clouds where they have some.

    Of a single cloud what follows x, y and z is left out. An .npz holds one array, or ``points`` (or ``points_u16``)
    and perhaps ``name``. Raises :class:`InputError` for anything else.
    """
    names, key = None, None
    if path.suffix.lower() == ".npy":
        points = parse_npy(content_of(path), str(path))
    else:
        with open_zip(path) as archive:
            key = _key_of_points(archive, str(path))
            points = read_array(archive, key, any_size=True)
            names = read_array(archive, "name") if "name" in arrays_in(archive) else None
    if points.ndim in (2, 3):
        check_upright(points.shape[-2:], str(path))
    if points.ndim == 2:
        points = points[:, :3]
    if points.dtype.kind not in "iuf" or points.ndim not in (2, 3) or points.shape[-1] not in (2, 3):
        raise InputError(
            f"the array of {path} is {points.dtype} {list(points.shape)}; points are numbers [points, 2 or 3], or "
            "[clouds, points, 2 or 3]"
        )
    if names is not None and (points.ndim == 2 or names.shape != points.shape[:1]):
        names = None
    return _coordinates(points, key, str(path)), None if names is None else _text(names)


def parse_npz(content: bytes, source: str) -> np.ndarray:
    """The one array of an .npz file's content, or that called ``points`` (or ``points_u16``, made coordinates)."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            key = _key_of_points(archive, source)
            name = f"{source}:{key}.npy"
            points = parse_npy(read_member(archive, f"{key}.npy", name), name)
    except InputError:
        raise
    except (*DAMAGE, ValueError) as error:  # a file in memory calls a place before its beginning a ValueError
        raise InputError(f"{source} is no readable .npz ({brief(error)})") from error
    return _coordinates(points, key, source)


def _key_of_points(archive: zipfile.ZipFile, source: str) -> str:
    known = arrays_in(archive)
    keys = [key for key in ("points", "points_u16") if key in known] or known
    if len(keys) != 1:
        found = ", ".join(keys) or "none"
        raise InputError(f"{source} must hold one array, or one called 'points'; it has {found}")
    return keys[0]


def check_upright(shape: tuple[int, ...], source: str) -> None:
    """:class:`InputError` for a few rows of many numbers: a cloud whose rows are the coordinates, [3, M]."""
    if len(shape) == 2 and 2 <= shape[0] <= _FEW < shape[1]:
        raise InputError(
            f"{source} holds {shape[0]} rows of {shape[1]} numbers, which looks transposed; save it with a point in "
            f"each row ([points, 3], in numpy the array's .T)"
        )


def _coordinates(stored: np.ndarray, key: str | None, source: str) -> np.ndarray:
    """What an array of this name holds."""
    if key != "points_u16":
        return stored
    if stored.dtype.kind != "u" or stored.itemsize != 2:
        raise InputError(f"'points_u16' of {source} is {stored.dtype}, not uint16; call coordinates 'points'")
    return stored.astype(np.float32) / _U16 * 2 - 1


def parse_npy(content: bytes, source: str) -> np.ndarray:
    """The array of numbers or texts in a .npy file's content: a view of it, which asks for no memory of its own."""
    file = io.BytesIO(content)
    try:
        shape, fortran, dtype = _header(file)
        return np.ndarray(shape, dtype, content, file.tell(), order="F" if fortran else "C")
    except TypeError:
        raise InputError(f"{source} ends before the array {shape} that its header promises; is it truncated?") from None
    except ValueError as error:
        raise InputError(f"{source} is no readable .npy ({brief(error)})") from error


def arrays_in(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in an .npz."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_array(archive: zipfile.ZipFile, key: str, *, any_size: bool = False) -> np.ndarray:
    """An array of an .npz; see :func:`gmcn.data.containers.read_member`."""
    source = f"{archive.filename}:{key}.npy"
    return parse_npy(read_member(archive, f"{key}.npy", source, any_size=any_size), source)


def _rows(path: Path, member: str) -> Iterator[np.ndarray]:
    """The rows of an array in the archive, never all of them at once."""
    with _opened(path, member) as (file, shape, dtype):
        size = math.prod(shape[1:]) * dtype.itemsize
        for _ in range(shape[0]):
            yield np.frombuffer(file.read(size), dtype).reshape(shape[1:])


@contextlib.contextmanager
def _opened(path: Path, member: str) -> Iterator[tuple[BinaryIO, tuple[int, ...], np.dtype]]:
    """The file of the points, read as far as its header; shape and type."""
    try:
        with open_zip(path) as archive, archive.open(member) as file:
            shape, fortran, dtype = _header(file)
            if dtype.kind not in "fiu" or (fortran and len(shape) > 1):
                order = "Fortran" if fortran else "C"
                raise ValueError(f"points are {dtype} in {order} order, not numbers in C order")
            if math.prod(shape[1:]) * dtype.itemsize > MAX_MEMBER:
                raise ValueError(f"a cloud of shape {shape[1:]} is larger than {MAX_MEMBER:,} bytes")
            yield file, shape, dtype
    except (*DAMAGE, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the points of {path} cannot be read ({brief(error)}); replace the file") from error


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of a .npy file, which is left where the data begin."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is a Python literal, with all the errors of Python's own parser
        raise ValueError(f"its header is damaged: {brief(error)}") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return shape, fortran, dtype


def _load(count: int, own: Clouds, key: str, source: str, stored: np.ndarray) -> Row:
    if not own.drop_not_finite:
        stored = stored[:count]
    return cloud_row(_coordinates(stored, key, source).astype(np.float64), own, count, None)


def _text(values: np.ndarray) -> list[str]:
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
