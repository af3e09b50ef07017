"""Writes .ply and .off files, headers of .npy files, and a box in every format of meshes, for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.samples import PARTS, Samples, stored
from gmcn.data.solids import CLASSES, make_mesh, make_solids
from gmcn.errors import InputError


def ply(vertices: dict[str, np.ndarray], order: str = "binary_little_endian", before: str = "", extra: bytes = b""):
    """A file of float vertices; ``before`` are header lines of elements in front of them, ``extra`` their data."""
    names = list(vertices)
    count = len(vertices[names[0]])
    header = f"ply\nformat {order} 1.0\ncomment made by a test\n{before}element vertex {count}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    rows = np.stack([vertices[name] for name in names], axis=-1)
    if order == "ascii":
        data = "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()
    else:
        data = rows.astype("<f4" if "little" in order else ">f4").tobytes()
    return header.encode() + extra + data


def npy(shape: str, descr: str = "<f4") -> bytes:
    """The header of an .npy file that promises an array of ``shape``."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


# The box 1 x 2 x 3, whose surface is 22.
CORNERS = [(x, y, z) for x in (0.0, 1.0) for y in (0.0, 2.0) for z in (0.0, 3.0)]
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = [half for a, b, c, d in QUADS for half in ((a, b, c), (a, c, d))]


def area(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Of all triangles together, so that what lies twice counts twice."""
    corners = np.asarray(vertices, dtype=np.float64)[np.asarray(triangles)]
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def obj_box(vertex: str = "v {} {} {}", face: str = "f {} {} {}") -> list[str]:
    """The lines of the box in .obj."""
    return [vertex.format(*corner) for corner in CORNERS] + [
        face.format(*(index + 1 for index in triangle)) for triangle in TRIANGLES
    ]


def ply_mesh(
    faces: Sequence[Sequence[int]],
    order: str = "binary_little_endian",
    *,
    before: Sequence[tuple[str, str]] = (),
    after: Sequence[tuple[str, str]] = (),
    extra: str = "",
    data: bytes = b"",
) -> bytes:
    """The box with these faces; ``before`` and ``after`` their list stand numbers of a type of struct and a name.

    ``extra`` are header lines of elements in front of the vertices, ``data`` theirs.
    """
    names = {"f": "float", "B": "uchar", "h": "short"}
    head = f"ply\nformat {order} 1.0\ncomment made by a test\n{extra}element vertex 8\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz") + f"element face {len(faces)}\n"
    head += "".join(f"property {names[kind]} {name}\n" for kind, name in before)
    head += "property list uchar int vertex_indices\n"
    head += "".join(f"property {names[kind]} {name}\n" for kind, name in after) + "end_header\n"
    if order == "ascii":
        rows = [" ".join(map(str, corner)) for corner in CORNERS]
        rows += [" ".join(map(str, [*[7] * len(before), len(f), *f, *[7] * len(after)])) for f in faces]
        return head.encode() + data + ("\n".join(rows) + "\n").encode()
    sign = "<" if "little" in order else ">"
    body = np.array(CORNERS, f"{sign}f8").tobytes()
    kinds = ["".join(kind for kind, _ in part) for part in (before, after)]
    for face in faces:
        numbers = [*[7] * len(before), len(face), *face, *[7] * len(after)]
        body += struct.pack(f"{sign}{kinds[0]}B{len(face)}i{kinds[1]}", *numbers)
    return head.encode() + data + body


def stl_box(header: bytes = b"made by a test", tail: bytes = b"") -> bytes:
    """The box in binary .stl."""
    out = header.ljust(80) + struct.pack("<I", len(TRIANGLES))
    for triangle in TRIANGLES:
        out += struct.pack("<12f2x", 0, 0, 0, *(value for index in triangle for value in CORNERS[index]))
    return out + tail


def stl_text(name: str = "box") -> str:
    """The box in ASCII .stl."""
    text = f"solid {name}\n"
    for triangle in TRIANGLES:
        text += "facet normal 0 0 0\n  outer loop\n"
        text += "".join("    vertex {} {} {}\n".format(*CORNERS[index]) for index in triangle)
        text += "  endloop\nendfacet\n"
    return text + f"endsolid {name}\n"


def write_off(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Write vertices [V, 3] and triangles [T, 3] as .off, with all digits of the coordinates."""
    lines = ["OFF", f"{len(vertices)} {len(triangles)} 0"]
    lines += [" ".join(map(repr, row)) for row in np.asarray(vertices, dtype=np.float64).tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in np.asarray(triangles).tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_meshes(folder: Path, settings: dict[str, Any]) -> None:
    """Write the meshes of solids10 as ``<folder>/<class>/<train|test>/<name>.off`` (as ModelNet)."""
    samples = make_solids(settings, [])
    for name, place in zip(samples.names, samples.items(), strict=True):
        class_name = list(CLASSES)[place[0]]
        mesh = make_mesh(class_name, np.random.default_rng([settings.get("seed", 1), *place]))
        write_off(folder / class_name / PARTS[place[1]] / f"{name}.off", *mesh)


def read(samples: Samples, name: str = "points") -> np.ndarray:
    """One tensor of all shapes, as stored. Raises the first bad object's error."""
    rows = []
    for row in samples:
        if isinstance(row, InputError):
            raise row
        rows.append(stored(row[name]))
    return np.stack(rows)
