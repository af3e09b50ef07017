"""The vertices of .ply files, with all their properties, and the faces: clouds, meshes and Gaussian splats.

trimesh, in comparison, reads no binary file of polygons that differ in length, and minds not where ASCII ends early.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np

from gmcn.data.ply_header import Element, read_header, short
from gmcn.data.ply_lists import read_words, walk
from gmcn.data.polygons import triangulate
from gmcn.data.text import plain, without_mark
from gmcn.errors import InputError, brief


def read_vertices(content: bytes, source: str, needed: Sequence[str]) -> np.ndarray:  # [V], one field per property
    """The element ``vertex``, in ASCII or binary. Whatever follows it is not looked at.

    Raises:
        InputError: no .ply, a vertex that lacks one of the ``needed`` properties or has lists, a truncated file.
    """
    return _vertices(_Ply(content, source), needed)


def parse_ply(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of a mesh in ASCII or binary, polygons of any lengths.

    Raises:
        InputError: as :func:`read_vertices`; no faces, or none that list their vertices; a truncated file; as
            :func:`gmcn.data.polygons.triangulate`.
    """
    file = _Ply(content, source)
    vertices = _vertices(file, "xyz")
    faces, start = file.find("face")
    named = [entry for entry in faces.lists if entry.name in ("vertex_index", "vertex_indices")]
    if len(named or faces.lists) != 1:
        raise InputError(f"the faces of {source} have no list vertex_indices (or several); export it again")
    (wanted,) = named or faces.lists
    if wanted.dtype.kind == "f":
        raise InputError(f"the faces of {source} list their vertices as {wanted.dtype.name}, not as whole numbers")
    if file.binary:
        counts, corners, _ = walk(file.content, start, faces, wanted, source)
    else:
        counts, corners = read_words(file.lines[start : start + faces.rows], faces, wanted, source)
    points = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    return points, triangulate(points, counts, corners, source)


def count_vertices(head: bytes, size: int) -> int:
    """How many vertices a file has by its ``head``, but not more than its ``size`` has room for.

    0 without a readable header; ``ply_header.LONGEST_HEADER`` bytes are enough of a head.
    """
    try:
        file = _Ply(head, "")
        vertex = next((element for element in file.elements if element.name == "vertex"), None)
    except InputError:
        return 0
    if vertex is None:
        return 0
    # A number in ASCII takes a digit and a blank.
    least = vertex.dtype().itemsize if file.binary else 2 * len(vertex.properties)
    return min(vertex.rows, size // max(1, least))


def has_faces(content: bytes) -> bool:
    """True if the header announces faces: a mesh and no cloud."""
    try:
        elements = _Ply(content, "").elements
    except InputError:
        return False
    return any(element.name in ("face", "tristrips") and element.rows > 0 for element in elements)


class _Ply:
    """A file's header, its content, and where the data begin; of ASCII their lines that are not blank."""

    def __init__(self, content: bytes, source: str):
        self.source, self.content = source, without_mark(content, source)
        if self.content.startswith(b"ply\rformat ascii"):  # as before macOS X
            self.content = plain(content, source)
        file = io.BytesIO(self.content)
        self.binary, self.elements = read_header(file, source)
        self.start = file.tell()
        self._file = file

    @functools.cached_property
    def lines(self) -> list[bytes]:
        return [line for line in self._file.read().splitlines() if line.strip()]

    def find(self, name: str) -> tuple[Element, int]:
        """An element and where it begins: at a byte, or in ASCII at a line."""
        start = self.start if self.binary else 0
        for element in self.elements:
            if element.name == name:
                return element, start
            if not self.binary:
                start += element.rows
            elif element.lists:
                start = walk(self.content, start, element, None, self.source)[2]
            else:
                start += element.rows * element.dtype().itemsize
        known = ", ".join(element.name for element in self.elements)
        raise InputError(f"{self.source} has no element '{name}', but {known or 'none'}")


def _vertices(file: _Ply, needed: Sequence[str]) -> np.ndarray:  # [V], one field per property
    element, start = file.find("vertex")
    names = [entry.name for entry in element.properties]
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"the vertices of {file.source} lack {', '.join(missing)}; they have {', '.join(names)}")
    if element.lists:
        raise InputError(f"the vertices of {file.source} have a list, '{element.lists[0].name}'; export it without")
    dtype, count = element.dtype(), element.rows
    if not count:
        return np.empty(0, dtype)
    if file.binary:
        found = max(0, min(count, (len(file.content) - start) // dtype.itemsize))
        if found == count:
            return np.frombuffer(file.content, dtype, count, start)
    else:
        lines = file.lines[start : start + count]
        found = len(lines)
        if found == count:
            try:
                return np.loadtxt(lines, dtype, comments=None, ndmin=1)
            except (ValueError, OverflowError) as error:
                raise InputError(f"{file.source}: {brief(error)}") from error
    raise short(file.source, found, element)
