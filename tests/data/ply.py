"""Writes .ply files for tests."""

from __future__ import annotations

import numpy as np


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
