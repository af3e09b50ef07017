"""Meshes in the .off format, as they are found in ModelNet and the Princeton Shape Benchmark.

Published files deviate from the format: ModelNet glues the counts to the first word ("OFF8 12 0").
point-cloud-utils stops at those and prints to standard output, so the reader is our own.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np

from gmcn.artifacts import write_text
from gmcn.errors import InputError

_PLAIN = re.compile(rb"OFF\s*([1-9]\d{,15})[ \t]+([1-9]\d{,15})[ \t]+\d+[ \t]*\r?\n")


def read_off(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of a file; see :func:`parse_off`."""
    path = Path(path)
    try:
        return parse_off(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None


def parse_off(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of an .off file's content.

    Polygons become fans of triangles around their first corner; colours after the coordinates or indices are
    skipped, as are comments and polygons of less than three corners. ``source`` names the file in errors.

    Raises:
        InputError: with file and line, where the file is not .off, ends early, has an index without a vertex or a
            coordinate that is not a finite number.
    """
    plain = _parse_plain(content)
    if plain is not None:
        return plain
    lines = _Lines(content, source)
    counts = _header(lines)
    vertices = np.empty((counts[0], 3))
    for row in range(counts[0]):
        words = lines.next(f"vertex {row} of {counts[0]}")
        try:
            vertices[row] = [float(words[axis]) for axis in range(3)]  # a single word would be broadcast
        except (ValueError, IndexError):
            raise lines.error(f"a vertex needs three numbers, not '{' '.join(words)[:40]}'") from None
        if not np.isfinite(vertices[row]).all():
            raise lines.error("a coordinate is not finite")
    triangles = []
    for row in range(counts[1]):
        words = lines.next(f"face {row} of {counts[1]}")
        try:
            corners = int(words[0])
            indices = [int(word) for word in words[1 : corners + 1]]
        except ValueError:
            raise lines.error(f"a face needs whole numbers, not '{' '.join(words)[:40]}'") from None
        if len(indices) != corners:
            raise lines.error(f"a face of {corners} corners has {len(indices)} indices")
        if corners and not 0 <= min(indices) <= max(indices) < counts[0]:
            raise lines.error(f"a face uses a vertex that is not there (there are {counts[0]}, counted from 0)")
        triangles.extend((indices[0], indices[i], indices[i + 1]) for i in range(1, corners - 1))
    return vertices, np.array(triangles, dtype=np.int64).reshape(-1, 3)


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
    inside = triangles.min() >= 0 and triangles.max() < count
    return (vertices, triangles) if inside and (rows[:, 0] == 3).all() else None


def write_off(path: str | Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Write vertices [V, 3] and triangles [T, 3] as .off, with all digits of the coordinates."""
    lines = ["OFF", f"{len(vertices)} {len(triangles)} 0"]
    lines += [" ".join(map(repr, row)) for row in np.asarray(vertices, dtype=np.float64).tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in np.asarray(triangles).tolist()]
    write_text(path, "\n".join(lines) + "\n")


class _Lines:
    """Words of the lines that are neither empty nor comments, and the place of the last one for errors."""

    def __init__(self, content: bytes, source: str):
        self.source = source
        self.lines = content.decode("utf-8", errors="replace").splitlines()
        self.number = 0

    def next(self, wanted: str) -> list[str]:
        while self.number < len(self.lines):
            self.number += 1
            words = self.lines[self.number - 1].partition("#")[0].split()
            if words:
                return words
        raise self.error(f"the file ends before {wanted}; is it truncated?")

    def error(self, what: str) -> InputError:
        return InputError(f"{self.source}, line {self.number}: {what}")


def _header(lines: _Lines) -> tuple[int, int]:
    words = lines.next("the word OFF")
    # COFF, NOFF, STOFF ... announce further columns, which are skipped; 4OFF and nOFF have another dimension.
    prefix, found, rest = words[0].partition("OFF")
    if not found or any(letter not in "STCN" for letter in prefix):
        raise lines.error(f"expected the word OFF, found '{words[0][:20]}'")
    words = ([rest] if rest else []) + words[1:]
    if not words:
        words = lines.next("the counts")
    try:
        vertices, faces = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        raise lines.error(f"expected the counts of vertices and faces, found '{' '.join(words)[:40]}'") from None
    # Every vertex and face stands on a line of its own; checked before the memory is asked for.
    if vertices < 0 or faces < 0 or vertices + faces > len(lines.lines):
        raise lines.error(f"{vertices} vertices and {faces} faces cannot stand in {len(lines.lines)} lines")
    return vertices, faces
