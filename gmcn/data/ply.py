"""The vertices of .ply files, with all their properties: clouds and Gaussian splats."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from gmcn.data.samples import brief
from gmcn.errors import InputError

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
# A header is some dozens of lines; a file that does not end it is none.
_LONGEST_LINE, _MOST_LINES = 1024, 1000
LONGEST_HEADER = _LONGEST_LINE * _MOST_LINES


@dataclass
class _Element:
    name: str
    rows: int
    properties: list[tuple[str, str]] = field(default_factory=list)  # type and name; of a list "list" and a type


def read_vertices(content: bytes, source: str, needed: Sequence[str]) -> np.ndarray:  # [V], one field per property
    """The element ``vertex``, in ASCII or binary. Whatever follows it is not looked at.

    Raises:
        InputError: no .ply, a vertex that lacks one of the ``needed`` properties or has lists, a truncated file.
    """
    file = io.BytesIO(content)
    order, elements = _header(file, source)
    before, count, dtype = _vertices(order, elements, source)
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
        lines = _rows(file)[before : before + count]
        found = len(lines)
        if found == count:
            try:
                return np.loadtxt(lines, dtype, comments=None, ndmin=1) if count else np.empty(0, dtype)
            except (ValueError, OverflowError) as error:
                raise InputError(f"{source}: {brief(error)}") from error
    raise InputError(f"{source} ends after {found:,} of {count:,} vertices; is it truncated?")


def count_vertices(head: bytes, size: int) -> int:
    """How many vertices a file has by its ``head``, but not more than its ``size`` has room for.

    0 without a readable header; ``LONGEST_HEADER`` bytes are enough of a head.
    """
    try:
        order, elements = _header(io.BytesIO(head), "")
        _, count, dtype = _vertices(order, elements, "")
    except InputError:
        return 0
    # A number in ASCII takes a digit and a blank.
    return min(count, size // max(1, dtype.itemsize if order else 2 * len(dtype.names or ())))


def has_faces(content: bytes) -> bool:
    """Whether the header announces faces: a mesh and no cloud."""
    try:
        _, elements = _header(io.BytesIO(content), "")
    except InputError:
        return False
    return any(element.name == "face" and element.rows > 0 for element in elements)


def check_rows(content: bytes, source: str) -> None:
    """:class:`InputError` for a file in ASCII that ends before its last row does, which trimesh does not mind."""
    file = io.BytesIO(content)
    order, elements = _header(file, source)
    expected = sum(element.rows for element in elements)
    if order or not expected:
        return
    lines = _rows(file)
    missing = expected - len(lines)
    if missing == 0:
        words = lines[-1].split()
        last = next(element for element in reversed(elements) if element.rows)
        for kind, _ in last.properties:
            length = 1 + (int(words[0]) if kind == "list" and words and words[0].isdigit() else 0)
            missing += max(0, length - len(words))
            words = words[length:]
    if missing > 0:
        raise InputError(f"{source} ends before the last of the rows that its header promises; is it truncated?")


def _rows(file: BinaryIO) -> list[bytes]:
    return [line for line in file.read().splitlines() if line.strip()]


def _header(file: BinaryIO, source: str) -> tuple[str, list[_Element]]:
    """Byte order ('' for ASCII) and elements; the file is left where the data begin."""
    lines = []
    while not lines or lines[-1] != ["end_header"]:
        line = file.readline(_LONGEST_LINE)
        if not line or len(lines) > _MOST_LINES or (not lines and line.strip() != b"ply"):
            raise InputError(f"{source} is no .ply file: its header does not start with ply or does not end")
        lines.append(line.decode(errors="replace").split())
    try:
        order = next(_ORDERS[line[1]] for line in lines if line[:1] == ["format"])
        elements: list[_Element] = []
        for line in lines:
            if line[:1] == ["element"]:
                elements.append(_Element(line[1], int(line[2])))
                if elements[-1].rows < 0:
                    raise ValueError(f"{line[2]} rows of '{line[1]}'")
            elif line[:1] == ["property"]:
                elements[-1].properties.append((line[1], line[2]))
        return order, elements
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise _not_understood(source, error) from error


def _vertices(order: str, elements: Sequence[_Element], source: str) -> tuple[int, int, np.dtype]:
    """Bytes (in ASCII lines) before the vertices, their number, and one vertex as a type."""
    try:
        position = [element.name for element in elements].index("vertex")
        before = 0
        for element in elements[:position]:
            before += element.rows * _type(order, element).itemsize if order else element.rows
        return before, elements[position].rows, _type(order, elements[position])
    except (KeyError, ValueError) as error:
        raise _not_understood(source, error) from error


def _type(order: str, element: _Element) -> np.dtype:
    """One row; a list has no fixed size (KeyError), so that nothing behind it can be found."""
    # What stands in a text is not cut to the type that its header names.
    types = _TYPES if order else _TYPES | {"float": "f8", "float32": "f8"}
    return np.dtype([(name, order + types[kind]) for kind, name in element.properties])


def _not_understood(source: str, error: Exception) -> InputError:
    return InputError(f"the header of {source} is not understood ({brief(error)}); vertices must come first")
