"""3D Gaussian splatting's .ply files: mixtures of Gaussians that need no fit.

Kerbl, Kopanas, Leimkuehler, Drettakis, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023.
"""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.data.containers import Member, contents, distinct, heads, labelled, list_files
from gmcn.data.ply import LONGEST_HEADER, count_vertices, read_vertices
from gmcn.data.samples import PARTS, TRAIN, Row, Samples, frame
from gmcn.errors import InputError

PROPERTIES = ("x", "y", "z", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))

# Splats on surfaces are as flat as one likes, but a float32 covariance is positive definite only while its variances
# differ by less than about 1e7: no scale is less than this part of the Gaussian's largest.
_THINNEST = 1e-3
# Nor less than this part of the shape's radius, which is as near as float32 positions come to each other: the squares
# of smaller variances vanish.
_SMALLEST = 1e-7


def read_splats(settings: dict[str, Any], files: list[Path]) -> Samples:
    """The mixtures of a folder or zip of .ply files, or of the files themselves.

    In <class>/<train|test>/<name>.ply class and part of the split are the folders'; any other file is a training
    object of the class "splats". Shapes of fewer Gaussians than the largest are filled up with such of weight 0 at
    the origin with covariance 1. ``settings``: ``normalize``.
    """
    # Files are looked for in a folder or zip, and published ones all lie in one folder.
    whole = len(files) == 1 and (files[0].is_dir() or files[0].suffix.lower() == ".zip")
    container = files[0] if whole else files[0].parent
    names = list_files(container) if whole else [path.name for path in files]
    members = distinct(container, [_member(name) for name in names if name.lower().endswith(".ply")])
    if not members:
        raise InputError(f"{files[0]} is, or holds, no .ply file")
    most = max(count_vertices(head, size) for head, size in heads(container, members, LONGEST_HEADER))
    return Samples(
        **labelled(members),
        items=functools.partial(contents, container, members),
        load=functools.partial(_load, settings, most),
        costly=True,
    )


def parse_splats(content: bytes, source: str) -> Row:
    """Weights [N], positions [N, 3] and covariances [N, 3, 3], float64, of a file's content.

    The file holds logits of opacities, logarithms of the scales s, and quaternions (w, x, y, z) of any length that
    turn the axes by R: the covariance is R diag(s^2) R^T. A splat is a Gaussian whose peak is the opacity, so its
    weight, the integral, is opacity * sqrt(det(2 pi covariance)).

    Raises :class:`InputError` for a file without these properties, without Gaussians or with a value that is not
    finite.
    """
    vertices = read_vertices(content, source, PROPERTIES)
    values = np.stack([vertices[name] for name in PROPERTIES], axis=-1).astype(np.float64)  # [N, 11]
    if not len(values):
        raise InputError(f"{source} holds no Gaussians")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"{source}: {PROPERTIES[column]} of Gaussian {row} is not finite")
    positions, opacity, quaternions = values[:, :3], values[:, 3], values[:, 7:]
    with np.errstate(over="ignore"):
        scales = np.exp(values[:, 4:7])
    length = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    if not length.all() or not np.isfinite(scales).all():
        row = int((~length[:, 0].astype(bool) | ~np.isfinite(scales).all(-1)).argmax())
        raise InputError(f"{source}: the rotation of Gaussian {row} is zero or its scale is beyond all bounds")
    _, radius = frame(positions)
    scales = np.maximum(scales, np.maximum(_THINNEST * scales.max(axis=-1, keepdims=True), _SMALLEST * radius))
    axes = _rotation(quaternions / length) * scales[:, None]  # [N, 3, 3]
    # The logistic function, without overflow; sqrt(det(2 pi R diag(s^2) R^T)) = (2 pi)^(3/2) s_0 s_1 s_2.
    weights = 0.5 * (1 + np.tanh(0.5 * opacity)) * (2 * np.pi) ** 1.5 * scales.prod(axis=-1)
    if not weights.any():
        raise InputError(f"the weights of {source} are all zero; remove it")
    return {"weights": weights, "positions": positions, "covariances": axes @ axes.swapaxes(-1, -2)}


def normalize_mixture(mixture: Row) -> Row:
    """The mixture with its centres in the unit sphere (as clouds of points) and weights whose sum is one."""
    centre, radius = frame(mixture["positions"])
    return {
        "weights": mixture["weights"] / mixture["weights"].sum(),
        "positions": (mixture["positions"] - centre) / radius,
        "covariances": mixture["covariances"] / radius**2,
    }


def _load(settings: dict[str, Any], most: int, item: tuple[str, str, bytes]) -> Row:
    _, source, content = item
    mixture = parse_splats(content, source)
    if settings.get("normalize"):
        mixture = normalize_mixture(mixture)
    missing = most - len(mixture["weights"])
    filling = {
        "weights": np.zeros(missing),
        "positions": np.zeros((missing, 3)),
        "covariances": np.broadcast_to(np.eye(3), (missing, 3, 3)),
    }
    return {name: np.concatenate([values, filling[name]]).astype(np.float32) for name, values in mixture.items()}


def _member(file: str) -> Member:
    path = PurePosixPath(file)
    if len(path.parts) > 2 and path.parts[-2] in PARTS:
        return Member(path.parts[-3], path.parts[-2], path.stem, file)
    return Member("splats", PARTS[TRAIN], path.stem, file)


def _rotation(quaternions: np.ndarray) -> np.ndarray:  # [N, 4] of length one -> [N, 3, 3]
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
