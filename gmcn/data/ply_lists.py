"""Lists in .ply files, whose rows differ in size: the faces of a mesh."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np

from gmcn.data.ply_header import Element, Property, short
from gmcn.errors import InputError, brief

# Lengths [rows] of one list, all its values as int64 one after the other, and the byte behind the last row.
Lists = tuple[np.ndarray, np.ndarray, int]


def walk(content: bytes, start: int, element: Element, wanted: Property | None, source: str) -> Lists:
    """The list ``wanted`` of a binary element that begins at ``start``; none to find out where the element ends.

    Raises :class:`InputError` where the file ends before, or a length is negative.
    """
    alike = _walk_alike(content, start, element, wanted)
    if alike is not None:
        return alike
    counts, values = array("q"), bytearray()
    order = "big" if any(entry.count.str.startswith(">") for entry in element.lists) else "little"
    steps = [
        (entry.dtype.itemsize, entry.count and entry.count.itemsize, entry.count and entry.count.kind == "i", entry)
        for entry in element.properties
    ]
    for row in range(element.rows):
        for size, width, signed, entry in steps:
            if width is None:
                start += size
                continue
            count = int.from_bytes(content[start : start + width], order, signed=signed)
            if count < 0:
                raise InputError(f"{source}: '{entry.name}' of {element.name} {row} has {count} values")
            start, end = start + width, start + width + count * size
            if entry is wanted:
                counts.append(count)
                values += content[start:end]
            start = end
        if start > len(content):
            raise short(source, row, element)
    whole = np.frombuffer(values, wanted.dtype).astype(np.int64) if wanted else np.zeros(0, dtype=np.int64)
    return np.array(counts, dtype=np.int64), whole, start


def _walk_alike(content: bytes, start: int, element: Element, wanted: Property | None) -> Lists | None:
    """The same at once, where all rows are as long as the first; None where they are not."""
    fields, lengths, place = [], {}, start
    for entry in element.properties if element.rows else ():
        if entry.count is None:
            fields.append((entry.name, entry.dtype))
            place += entry.dtype.itemsize
            continue
        if place + entry.count.itemsize > len(content):
            return None
        lengths[f"length of {entry.name}"] = length = int(np.frombuffer(content, entry.count, 1, place)[0])
        place += entry.count.itemsize + length * entry.dtype.itemsize
        if not start <= place <= len(content) or length < 0:
            return None
        fields += [(f"length of {entry.name}", entry.count), (entry.name, entry.dtype, (length,))]
    end = start + (place - start) * element.rows
    if end > len(content):
        return None
    rows = np.frombuffer(content, np.dtype(fields), element.rows, start) if element.rows else np.zeros(0)
    if any((rows[name] != length).any() for name, length in lengths.items()):
        return None
    if wanted is None or not element.rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), end
    values = rows[wanted.name].astype(np.int64)
    return np.full(element.rows, math.prod(values.shape[1:])), values.reshape(-1), end


def read_words(
    lines: Sequence[bytes], element: Element, wanted: Property, source: str
) -> tuple[np.ndarray, np.ndarray]:
    """The list ``wanted`` of an element in ASCII, a line of a row: lengths [rows] and values, int64.

    Raises :class:`InputError` for too few lines, or one whose words are not what the header promises.
    """
    counts, values = array("q"), array("q")
    for row, line in enumerate(lines):
        words, place = line.split(), 0
        try:
            for entry in element.properties:
                count = 1 if entry.count is None else int(words[place])
                place += entry.count is not None
                if count < 0:
                    raise ValueError(f"a list of {count} values")
                if entry is wanted:
                    counts.append(count)
                    values.extend(map(int, words[place : place + count]))
                place += count
            if place != len(words):
                raise IndexError(f"it has {len(words)} words, not {place}")
        except (ValueError, IndexError, OverflowError) as error:
            there = f"'{brief(line.decode(errors='replace'), 40)}' ({brief(error)})"
            if len(lines) < element.rows and row == len(lines) - 1:
                raise short(source, row, element) from None
            raise InputError(f"{source}: {element.name} {row} is not what the header promises: {there}") from None
    if len(lines) < element.rows:
        raise short(source, len(lines), element)
    return np.array(counts, dtype=np.int64), np.array(values, dtype=np.int64)
