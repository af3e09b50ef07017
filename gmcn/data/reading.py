"""Reads one mesh or cloud from a user's own file, for `show`, `predict` and any caller with a path."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from gmcn.data.clouds import FORMATS as CLOUDS
from gmcn.data.clouds import parse_cloud
from gmcn.data.conversion import hint
from gmcn.data.meshes import FORMATS as MESHES
from gmcn.data.meshes import has_faces, parse_mesh
from gmcn.errors import InputError

# Of .npy and .npz one cloud in 3D: several, or points in 2D, are read by gmcn.data.npz.read_arrays.
SUFFIXES = tuple(dict.fromkeys((*MESHES, *CLOUDS)))


def parse_geometry(
    content: bytes, source: str, *, drop_not_finite: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of a mesh; points [M, 3] and None of a cloud.

    The end of the name ``source`` says the format; .obj and .ply are meshes where they have faces. Everything is as
    :func:`gmcn.data.meshes.parse_mesh` and :func:`gmcn.data.clouds.parse_cloud` read it; ``drop_not_finite`` is for
    clouds.

    Raises:
        InputError: one sentence that names ``source``, for what is not one of these formats, damaged or of no use.
    """
    suffix = PurePosixPath(source).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{source} is no mesh or cloud whose name ends in {known}{hint(source)}")
    if suffix in MESHES and (suffix not in CLOUDS or has_faces(content, source)):
        return parse_mesh(content, source)
    return parse_cloud(content, source, drop_not_finite=drop_not_finite), None
