"""Surfaces and points in Wavefront's .obj, as modellers and converters write it.

Libraries that read it pass over lines that they do not understand (a tab, a blank in front), and the indices of all
later lines mean other vertices then: here such a line is an error.
"""

from __future__ import annotations

import re
from array import array

import numpy as np

from gmcn.data.polygons import triangulate
from gmcn.data.text import Lines
from gmcn.errors import InputError

_FACE = re.compile(rb"(?:^|[\r\n])[ \t]*fo?[ \t]")
# What holds no surface: further properties of vertices, points and lines, names, groups, materials, display.
_WITHOUT_SURFACE = frozenset(
    b"vt vn vp p l o g s mg usemtl mtllib usemap maplib bevel c_interp d_interp lod shadow_obj trace_obj".split()
)
_FREE_FORM = frozenset(
    b"cstype deg bmat step curv curv2 surf parm trim hole scrv sp end con ctech stech bsp bzp cdc cdp res".split()
)
_LARGEST = 1 << 40  # no file has as many vertices, and 64 bits hold it


def has_faces(content: bytes) -> bool:
    """True if some line is a face: a mesh and no cloud."""
    return _FACE.search(content) is not None


def parse_obj(content: bytes, source: str, *, surface: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64; without faces T is 0. Materials are not looked for.

    Polygons become triangles by :func:`gmcn.data.polygons.triangulate`. An index counts from 1, or back from the
    last vertex above its line. Without ``surface``, for clouds, faces are passed over.

    Raises:
        InputError: with file and line, for what is not understood, a vertex that is not there, free-form surfaces.
    """
    lines = Lines(content, source, continued=True)
    vertices, corners, counts = array("d"), array("q"), array("q")
    highest = (0, 0)  # index that is used, and its line
    for words in lines:
        kind = words[0]
        if kind == b"v":
            try:
                vertices.extend([float(words[axis]) for axis in (1, 2, 3)])
            except (ValueError, IndexError):
                raise lines.error("a vertex needs three numbers, not ", words[1:]) from None
        elif kind in (b"f", b"fo"):
            indices = _indices(words, len(vertices) // 3, lines) if surface else []
            corners.extend(indices)
            counts.append(len(indices))
            highest = max(highest, (max(indices, default=-1) + 1, lines.number))
        elif kind in _FREE_FORM:
            raise lines.error("free-form curves and surfaces are not read; export polygons: ", words)
        elif kind not in _WITHOUT_SURFACE:
            raise lines.error("not understood; remove the line if it is none of the surface: ", words)
    if highest[0] > len(vertices) // 3:
        there = f"vertex {highest[0]}, but there are {len(vertices) // 3}"
        raise InputError(f"{source}, line {highest[1]}: a face uses {there}")
    table, *faces = (np.array(numbers) for numbers in (vertices, counts, corners))
    table = table.reshape(-1, 3)
    return table, triangulate(table, *faces, source)


def _indices(words: list[bytes], vertices: int, lines: Lines) -> list[int]:
    """The corners of a face (v, v/vt, v//vn or v/vt/vn), counted from 0; ``vertices`` stand above it."""
    try:
        numbers = [int(word.partition(b"/")[0]) for word in words[1:]]
    except ValueError:
        raise lines.error("a face needs whole numbers, not ", words[1:]) from None
    indices = [number - 1 if number > 0 else vertices + number for number in numbers]
    if 0 in numbers or min(indices, default=0) < 0 or max(indices, default=0) > _LARGEST:
        raise lines.error("a face counts its vertices from 1, or back from the last one above it, not ", words[1:])
    return indices
