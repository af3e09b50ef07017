"""The header of .ply files: the elements, their numbers and their properties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from gmcn.errors import InputError, brief

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
# A header is some dozens of lines; a file that does not end it is none.
_LONGEST_LINE, _MOST_LINES = 1024, 1000
LONGEST_HEADER = _LONGEST_LINE * _MOST_LINES


@dataclass(frozen=True)
class Property:
    """A number, or a list of numbers after their count; types with the byte order of the file."""

    name: str
    dtype: np.dtype
    count: np.dtype | None = None  # of a list


@dataclass
class Element:
    """So many ``rows`` of the properties, one after the other."""

    name: str
    rows: int
    properties: list[Property] = field(default_factory=list)

    @property
    def lists(self) -> list[Property]:
        """The properties that are lists, so that rows differ in size."""
        return [entry for entry in self.properties if entry.count is not None]

    def dtype(self) -> np.dtype:
        """A row without lists. ValueError: two properties of one name."""
        return np.dtype([(entry.name, entry.dtype) for entry in self.properties])


def read_header(file: BinaryIO, source: str) -> tuple[bool, list[Element]]:
    """Read whether the data are binary, and the elements; afterwards the file stands where the data begin.

    Raises :class:`InputError` for another file, or a header that is not understood.
    """
    lines = []
    while not lines or lines[-1] != ["end_header"]:
        line = file.readline(_LONGEST_LINE)
        if not line or len(lines) > _MOST_LINES or (not lines and line.strip() != b"ply"):
            raise InputError(f"{source} is no .ply file: its header does not start with ply or does not end")
        lines.append(line.decode(errors="replace").split())
    try:
        order = next(_ORDERS[line[1]] for line in lines if line[:1] == ["format"])
        elements: list[Element] = []
        for line in lines:
            if line[:1] == ["element"]:
                elements.append(Element(line[1], int(line[2])))
                if elements[-1].rows < 0:
                    raise ValueError(f"{line[2]} rows of '{line[1]}'")
            elif line[:1] == ["property"]:
                elements[-1].properties.append(_property(order, line))
        for element in elements:
            element.dtype()
        return bool(order), elements
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise InputError(f"the header of {source} is not understood ({brief(error)})") from error


def short(source: str, found: int, element: Element) -> InputError:
    """The error of a file that ends before an element does."""
    what = {"vertex": "vertices", "face": "faces"}.get(element.name, f"rows of '{element.name}'")
    return InputError(f"{source} ends after {found:,} of {element.rows:,} {what}; is it truncated?")


def _property(order: str, line: list[str]) -> Property:
    # What stands in a text is not cut to the type that its header names.
    types = _TYPES if order else _TYPES | {"float": "f8", "float32": "f8"}
    if line[1] != "list":
        return Property(line[2], np.dtype(order + types[line[1]]))
    count = np.dtype(order + types[line[2]])
    if count.kind == "f":
        raise ValueError(f"'{line[4]}' is counted in {line[2]}")
    return Property(line[4], np.dtype(order + types[line[3]]), count)
