"""Meshes in the .off format, as they are found in ModelNet and the Princeton Shape Benchmark.

Published files deviate from the format: ModelNet glues the counts to the first word ("OFF8 12 0").
point-cloud-utils stops at those and prints to standard output, so the reader is our own.
"""

from __future__ import annotations

import io
import re
import warnings
from array import array
from collections.abc import Iterator

import numpy as np

from gmcn.data.polygons import triangulate
from gmcn.data.text import Lines, plain

_PLAIN = re.compile(rb"OFF\s*([1-9]\d{,15})[ \t]+([1-9]\d{,15})[ \t]+\d+[ \t]*\r?\n")


def parse_off(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of an .off file's content.

    Polygons become triangles by :func:`gmcn.data.polygons.triangulate`; colours after the coordinates or indices are
    skipped, as are comments and polygons of less than three corners. ``source`` names the file in errors.

    Raises:
        InputError: with file and line, where the file is not .off, ends early or goes on after the last face, has an
            index without a vertex or a coordinate that is not a finite number.
    """
    content = plain(content, source)
    at_once = _parse_plain(content)
    if at_once is not None:
        return at_once
    lines = Lines(content, source)
    rows = iter(lines)
    count, faces = _header(lines, rows)
    vertices, counts, corners = np.empty((count, 3)), array("q"), array("q")
    for row in range(count):
        words = _next(lines, rows, f"vertex {row} of {count}")
        try:
            vertices[row] = [float(words[axis]) for axis in range(3)]  # a single word would be broadcast
        except (ValueError, IndexError):
            raise lines.error("a vertex needs three numbers, not ", words) from None
        if not np.isfinite(vertices[row]).all():
            raise lines.error("a coordinate is not finite")
    for row in range(faces):
        words = _next(lines, rows, f"face {row} of {faces}")
        try:
            size = int(words[0])
            indices = [int(word) for word in words[1 : size + 1]]
        except ValueError:
            raise lines.error("a face needs whole numbers, not ", words) from None
        if len(indices) != size:
            raise lines.error(f"a face of {size} corners has {len(indices)} indices")
        if size and not 0 <= min(indices) <= max(indices) < count:
            raise lines.error(f"a face uses a vertex that is not there (there are {count}, counted from 0)")
        counts.append(size)
        corners.extend(indices)
    words = next(rows, None)
    if words is not None:
        raise lines.error(f"the file goes on after the last of the {faces} faces that it promises: ", words)
    return vertices, triangulate(vertices, *(np.array(part, dtype=np.int64) for part in (counts, corners)), source)


def _parse_plain(content: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """The usual file, a line of three numbers per vertex and one per triangle, read at once; None for any other."""
    start = _PLAIN.match(content)
    if start is None:
        return None
    count, faces = int(start[1]), int(start[2])
    if count + faces > content.count(b"\n") + 1:
        return None
    file = io.BytesIO(content)
    file.seek(start.end())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said of a file that ends early
        try:
            vertices = np.loadtxt(file, max_rows=count, ndmin=2)
            rows = np.loadtxt(file, dtype=np.int64, max_rows=faces, ndmin=2)
        except (ValueError, OverflowError):
            return None
    if vertices.shape != (count, 3) or rows.shape != (faces, 4) or not np.isfinite(vertices).all():
        return None
    triangles = rows[:, 1:]
    inside = triangles.min() >= 0 and triangles.max() < count and not file.read().strip()
    return (vertices, triangles) if inside and (rows[:, 0] == 3).all() else None


def _next(lines: Lines, rows: Iterator[list[bytes]], wanted: str) -> list[bytes]:
    words = next(rows, None)
    if words is None:
        raise lines.error(f"the file ends before {wanted}; is it truncated?")
    return words


def _header(lines: Lines, rows: Iterator[list[bytes]]) -> tuple[int, int]:
    words = _next(lines, rows, "the word OFF")
    # COFF, NOFF, STOFF ... announce further columns, which are skipped; 4OFF and nOFF have another dimension.
    prefix, found, rest = words[0].partition(b"OFF")
    if not found or prefix.strip(b"STCN"):
        raise lines.error("expected the word OFF, found ", words[:1])
    words = ([rest] if rest else []) + words[1:]
    if not words:
        words = _next(lines, rows, "the counts")
    try:
        vertices, faces = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        raise lines.error("expected the counts of vertices and faces, found ", words) from None
    # Every vertex and face stands on a line of its own; checked before the memory is asked for.
    if vertices < 0 or faces < 0 or vertices + faces > lines.count:
        raise lines.error(f"{vertices} vertices and {faces} faces cannot stand in {lines.count} lines")
    return vertices, faces
