"""The vertices of .ply files, with all their properties: clouds and Gaussian splats."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gmcn.errors import InputError

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
# A header is some dozens of lines; a file that does not end it is none.
_LONGEST_LINE, _MOST_LINES = 1024, 1000


def read_vertices(content: bytes, source: str, needed: Sequence[str]) -> np.ndarray:  # [V], one field per property
    """The element ``vertex``, in ASCII or binary. Whatever follows it is not looked at.

    Raises:
        InputError: no .ply, a vertex that lacks one of the ``needed`` properties or has lists, a truncated file.
    """
    file = io.BytesIO(content)
    order, before, count, dtype = _header(file, source)
    missing = [name for name in needed if name not in (dtype.names or ())]
    if missing:
        raise InputError(
            f"the vertices of {source} lack {', '.join(missing)}; they have {', '.join(dtype.names or ())}"
        )
    if order:
        start = file.tell() + before
        found = max(0, min(count, (len(content) - start) // dtype.itemsize))
        if found == count:
            return np.frombuffer(content, dtype, count, start) if count else np.empty(0, dtype)
    else:
        lines = file.read().splitlines()[before : before + count]
        found = len(lines)
        if found == count:
            try:
                return np.loadtxt(lines, dtype, ndmin=1) if count else np.empty(0, dtype)
            except ValueError as error:
                raise InputError(f"{source}: {error}") from error
    raise InputError(f"{source} ends after {found:,} of {count:,} vertices; is it truncated?")


def count_vertices(path: Path) -> int:
    """How many vertices a file has by its header, but not more than it has room for; 0 without a readable header."""
    try:
        with open(path, "rb") as file:
            order, _, count, dtype = _header(file, str(path))
            # A number in ASCII takes a digit and a blank.
            room = path.stat().st_size // max(1, dtype.itemsize if order else 2 * len(dtype.names or ()))
            return min(count, room)
    except (InputError, OSError):
        return 0


def has_faces(content: bytes) -> bool:
    """Whether the header announces faces: a mesh and no cloud."""
    return (
        re.search(rb"^element[ \t]+face[ \t]+[1-9]", content[: 1 << 16].partition(b"end_header")[0], re.MULTILINE)
        is not None
    )


def _header(file: BinaryIO, source: str) -> tuple[str, int, int, np.dtype]:
    """Byte order ('' for ASCII), bytes (lines) before the vertices, their number, and one vertex as a type."""
    lines = []
    while not lines or lines[-1] != ["end_header"]:
        line = file.readline(_LONGEST_LINE)
        if not line or len(lines) > _MOST_LINES or (not lines and line.strip() != b"ply"):
            raise InputError(f"{source} is no .ply file: its header does not start with ply or does not end")
        lines.append(line.decode(errors="replace").split())
    try:
        order = next(_ORDERS[line[1]] for line in lines if line[:1] == ["format"])
        elements: list[tuple[str, int, list]] = []
        for line in lines:
            if line[:1] == ["element"]:
                elements.append((line[1], int(line[2]), []))
            elif line[:1] == ["property"]:
                # A list has no fixed size, so that nothing behind it can be found.
                elements[-1][2].append((line[2], order + _TYPES[line[1]]) if line[1] != "list" else None)
        position = [name for name, *_ in elements].index("vertex")
        before, count = 0, elements[position][1]
        for _, rows, fields in elements[:position]:
            before += rows * np.dtype(fields).itemsize if order else rows
        return order, before, count, np.dtype(elements[position][2])
    except (KeyError, IndexError, ValueError, TypeError, StopIteration) as error:
        raise InputError(f"the header of {source} is not understood ({error!r}); vertices must come first") from error
