"""3D Gaussian splatting's .ply files: mixtures of Gaussians that need no fit.

Kerbl, Kopanas, Leimkuehler, Drettakis, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.data.containers import Member, contents, distinct, heads, labelled, list_files, placed
from gmcn.data.conversion import PACKED, UNPACK, hint
from gmcn.data.ply import count_vertices, read_vertices
from gmcn.data.ply_header import LONGEST_HEADER
from gmcn.data.samples import DROP, DROPPED, OPTION, PARTS, TRAIN, Row, Samples, frame, places_of
from gmcn.errors import InputError

_LOG = logging.getLogger(__name__)
PROPERTIES = ("x", "y", "z", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)))

# What the vertices of SuperSplat's compressed files have instead of coordinates.
_PACKED_PROPERTY = "packed_position"
# Splats on surfaces are as flat as one likes, but a float32 covariance is positive definite only while its variances
# differ by less than about 1e7: no scale is less than this part of the Gaussian's largest.
_THINNEST = 1e-3
# Nor less than this part of the shape's radius, which is as near as float32 positions come to each other: the squares
# of smaller variances vanish.
_SMALLEST = 1e-7


def read_splats(settings: dict[str, Any], files: list[Path]) -> Samples:
    """The mixtures of a folder or zip of .ply files, or of the files themselves.

    In <class>/<train|test>/<name>.ply class and part of the split are the folders'; any other file is a training
    object of the class "splats". Shapes of fewer Gaussians than the largest are filled up with copies of their first
    one of weight 0. ``settings``: ``normalize``, ``drop_not_finite``, ``classes``.
    """
    # Files are looked for in a folder or zip, and published ones all lie in one folder.
    whole = len(files) == 1 and (files[0].is_dir() or files[0].suffix.lower() == ".zip")
    container = files[0] if whole else files[0].parent
    names = list_files(container) if whole else [path.name for path in files]
    found = [name for name in names if name.lower().endswith(".ply")]
    elsewhere = functools.partial(Member, "splats", PARTS[TRAIN])
    members = distinct(container, [placed(name) or elsewhere(PurePosixPath(name).stem, name) for name in found])
    packed = [name for name in names if name.lower().endswith(PACKED)]
    if not members:
        raise InputError(f"{files[0]} is, or holds, no .ply file{hint(packed[0]) if packed else ''}")
    if packed:
        text = "%s: %d files of packed splats are left out (%s ...)%s"
        _LOG.warning(text, container, len(packed), packed[0], hint(packed[0]))
    described = labelled(members)
    places = places_of(settings.get("classes"), described["class_names"], "`classes`")
    wanted = list(itertools.compress(members, np.isin(described["labels"], places)))
    most = max(count_vertices(head, size) for head, size in heads(container, wanted, LONGEST_HEADER))
    return Samples(
        **described,
        items=functools.partial(contents, container),
        load=functools.partial(_load, settings, most),
        costly=True,
    )


def holds_splats(content: bytes) -> bool:
    """True if a .ply holds Gaussian splats, packed ones too, by the properties in its header."""
    return _properties(content) >= {"opacity", "scale_0", "rot_0"} or _PACKED_PROPERTY in _properties(content)


def refuse_packed(content: bytes, source: str) -> None:
    """:class:`InputError` for a .ply of compressed splats, whose vertices have no coordinates."""
    if _PACKED_PROPERTY in _properties(content):
        raise InputError(f"{source} holds compressed splats; {UNPACK}")


def _properties(content: bytes) -> set[str]:
    lines = content[:LONGEST_HEADER].partition(b"end_header")[0].splitlines()
    return {line.split()[-1].decode(errors="replace") for line in lines if line.startswith(b"property ")}


def parse_splats(content: bytes, source: str, *, drop_not_finite: bool = False) -> Row:
    """Weights [N], positions [N, 3] and covariances [N, 3, 3], float64, of a file's content.

    The file holds logits of opacities, logarithms of the scales s, and quaternions (w, x, y, z) of any length that
    turn the axes by R: the covariance is R diag(s^2) R^T. A splat is a Gaussian whose peak is the opacity, so its
    weight, the integral, is opacity * sqrt(det(2 pi covariance)). An infinite logit is an opacity of 1 or 0, minus
    infinity a scale of 0; files of flat (2D) splats lack ``scale_2``, which then is 0.

    Raises :class:`InputError` for a file without these properties, without Gaussians or, unless ``drop_not_finite``
    leaves such Gaussians out, with another value that is not finite.
    """
    refuse_packed(content, source)
    values = _values(content, source)
    bad = _not_finite(values)
    if bad.any() and not drop_not_finite:
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{source}: {PROPERTIES[column]} of Gaussian {row} is not finite; {DROP} leaves such Gaussians out {OPTION}"
        )
    values = values[~bad.any(-1)]
    if not len(values):
        raise InputError(f"{source} holds no Gaussians")
    positions, opacity, quaternions = values[:, :3], values[:, 3], values[:, 7:]
    with np.errstate(over="ignore"):
        scales = np.exp(values[:, 4:7])
    length = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    if not length.all() or not np.isfinite(scales).all():
        row = int((~length[:, 0].astype(bool) | ~np.isfinite(scales).all(-1)).argmax())
        raise InputError(f"{source}: the rotation of Gaussian {row} is zero or its scale is far too large")
    _, radius = frame(positions)
    scales = np.maximum(scales, np.maximum(_THINNEST * scales.max(axis=-1, keepdims=True), _SMALLEST * radius))
    axes = _rotation(quaternions / length) * scales[:, None]  # [N, 3, 3]
    # The logistic function, without overflow; sqrt(det(2 pi R diag(s^2) R^T)) = (2 pi)^(3/2) s_0 s_1 s_2.
    weights = 0.5 * (1 + np.tanh(0.5 * opacity)) * (2 * np.pi) ** 1.5 * scales.prod(axis=-1)
    if not weights.any():
        raise InputError(f"the weights of {source} are all zero; remove it")
    return {"weights": weights, "positions": positions, "covariances": axes @ axes.swapaxes(-1, -2)}


def _values(content: bytes, source: str) -> np.ndarray:  # [N, 11] float64, in the order of PROPERTIES
    vertices = read_vertices(content, source, [name for name in PROPERTIES if name != "scale_2"])
    flat = np.full(len(vertices), -np.inf)
    columns = [flat if name not in vertices.dtype.names else vertices[name] for name in PROPERTIES]
    return np.stack(columns, axis=-1).astype(np.float64)


def _not_finite(values: np.ndarray) -> np.ndarray:  # [N, 11] -> [N, 11] bool
    """True for values without a meaning; infinite logits of opacities have one, and logarithms of zero scales too."""
    infinite = np.isinf(values)
    infinite[:, 3] = False
    infinite[:, 4:7] &= values[:, 4:7] > 0
    return np.isnan(values) | infinite


def normalize_mixture(mixture: Row) -> Row:
    """The mixture with its centres in the unit sphere (as clouds of points) and weights whose sum is one."""
    centre, radius = frame(mixture["positions"])
    return {
        "weights": mixture["weights"] / mixture["weights"].sum(),
        "positions": (mixture["positions"] - centre) / radius,
        "covariances": mixture["covariances"] / radius**2,
    }


def prepare_splats(content: bytes, source: str, settings: Mapping[str, Any], least: int = 0) -> Row:
    """The mixture, float32, of a file as a data set of these ``settings`` holds it, and how many were left out.

    It is filled up to ``least`` Gaussians with copies of its first one of weight 0, which lie within the shape: a
    reduction sorts and groups them with the others.
    """
    mixture = parse_splats(content, source, drop_not_finite=settings.get("drop_not_finite", False))
    if settings.get("normalize"):
        mixture = normalize_mixture(mixture)
    count = len(mixture["weights"])
    missing = max(0, least - count)
    filling = {
        "weights": np.zeros(missing),
        "positions": mixture["positions"][:1].repeat(missing, 0),
        "covariances": mixture["covariances"][:1].repeat(missing, 0),
    }
    row = {name: np.concatenate([values, filling[name]]).astype(np.float32) for name, values in mixture.items()}
    return row | {DROPPED: np.array(count_vertices(content, len(content)) - count)}


def _load(settings: dict[str, Any], most: int, item: tuple[str, str, bytes]) -> Row:
    _, source, content = item
    return prepare_splats(content, source, settings, most)


def _rotation(quaternions: np.ndarray) -> np.ndarray:  # [N, 4] of length one -> [N, 3, 3]
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
