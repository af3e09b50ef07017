"""Writes .ply files, and headers of .npy files, for tests."""

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


def npy(shape: str, descr: str = "<f4") -> bytes:
    """The header of an .npy file that promises an array of ``shape``."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
