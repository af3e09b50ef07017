"""Points on meshes, through point-cloud-utils, with exact counts and repeatable seeds."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.data import obj, ply
from gmcn.data.containers import contents, find_members, labelled
from gmcn.data.kinds import Meshes, told
from gmcn.data.off import parse_off
from gmcn.data.samples import Row, Samples, check_finite
from gmcn.data.stl import parse_stl
from gmcn.errors import InputError, unknown

SAMPLINGS = ("uniform", "poisson")
_PARSERS = {".off": parse_off, ".obj": obj.parse_obj, ".ply": ply.parse_ply, ".stl": parse_stl}
FORMATS = tuple(_PARSERS)

# sample_mesh_poisson_disk of point-cloud-utils 0.34 returns about 1.4 times as many points as it is asked for; a
# little less is expected, so that the first try mostly suffices.
_POISSON_EXCESS = 1.35
_POISSON_TRIES = 12


def sample_mesh(
    vertices: np.ndarray,  # [V, 3]
    triangles: np.ndarray,  # [T, 3]
    count: int,
    sampling: str = "uniform",
    *,
    seed: int,
    source: str = "the mesh",
) -> np.ndarray:  # [count, 3] float64
    """Exactly ``count`` points on the surface, the same ones for the same seed.

    ``uniform`` draws them independently with equal density per area; ``poisson`` keeps them apart from each other.

    Raises:
        InputError: an unknown sampling, or a mesh without area; ``source`` names it.
    """
    if sampling not in SAMPLINGS:
        raise unknown("sampling", sampling, SAMPLINGS)
    corners = vertices[triangles]
    # Scaled, so that very small or large units do not underflow in the areas; faces without area only disturb.
    size = np.ptp(vertices, axis=0).max(initial=0) if len(vertices) else 0
    sides = (corners[:, 1:] - corners[:, :1]) / (size or 1)
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)
    if not area.sum() > 0:
        raise InputError(f"{source} has no surface ({len(triangles)} triangles, all without area); remove it")
    middle = vertices.mean(axis=0)
    unit = (vertices - middle) / size
    draw = _poisson if sampling == "poisson" else _uniform
    points = draw(unit, triangles[area > 0], count, np.random.default_rng(seed))
    return points * size + middle


def read_meshes(settings: dict[str, Any], files: list[Path]) -> Samples:
    """Points on all meshes of a zip or folder in ModelNet's layout, <class>/<train|test>/<name>.<ext>.

    ``settings`` are those of :class:`gmcn.data.kinds.Meshes`. The points of a mesh depend on the seed and on its class,
    part of the split and name: on nothing else, in particular not on the other meshes.
    """
    if len(files) != 1:
        raise InputError(f"a data set of meshes is one .zip file, not {[path.name for path in files]}")
    members, left_out = find_members(files[0], FORMATS)
    return Samples(
        **labelled(members),
        left_out=left_out,
        items=functools.partial(contents, files[0]),
        load=functools.partial(_load, told(Meshes, settings)),
        costly=True,
    )


def parse_mesh(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] float64 and triangles [T, 3] int64 of a file's content; the name's end says the format.

    All parts of a file are one mesh. Nothing but ``content`` is read: no materials, no textures.

    Raises:
        InputError: one sentence that names ``source``, for whatever is damaged, not understood or without a face.
    """
    vertices, triangles = _PARSERS.get(PurePosixPath(source).suffix.lower(), parse_off)(content, source)
    check_finite(vertices, source, "vertex")
    if not len(triangles):
        raise InputError(f"{source} holds no faces; is it a cloud, or damaged?")
    return vertices, triangles


def has_faces(content: bytes, source: str) -> bool:
    """True if an .obj or .ply is a mesh and no cloud."""
    return (ply if source.lower().endswith(".ply") else obj).has_faces(content)


def seed_of(seed: int, key: str) -> int:
    """A seed for the object called ``key``."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode(errors="surrogateescape")).digest()[:8], "little")


def _load(own: Meshes, item: tuple[str, str, bytes]) -> Row:
    key, source, content = item
    mesh, seed = parse_mesh(content, source), seed_of(own.seed, key)
    return {"points": sample_mesh(*mesh, own.points, own.sampling, seed=seed, source=source)}


def _uniform(vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    import point_cloud_utils

    face, weights = point_cloud_utils.sample_mesh_random(vertices, triangles, count, random_seed=_seed(rng))
    # A single sample comes back without its leading dimension.
    face, weights = np.atleast_1d(face), np.atleast_2d(weights)
    return point_cloud_utils.interpolate_barycentric_coords(triangles, face, weights, vertices)


def _poisson(vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Ask for what should give ``count`` points, more until it does, and leave out the surplus at random."""
    import point_cloud_utils

    asked = max(1, round(count / _POISSON_EXCESS))
    seed = _seed(rng)
    for _ in range(_POISSON_TRIES):
        face, weights = point_cloud_utils.sample_mesh_poisson_disk(vertices, triangles, asked, random_seed=seed)
        face, weights = np.atleast_1d(face), np.atleast_2d(weights)
        if len(face) >= count:
            kept = np.sort(rng.permutation(len(face))[:count])
            return point_cloud_utils.interpolate_barycentric_coords(triangles, face[kept], weights[kept], vertices)
        asked = max(asked + 1, round(asked * 1.02 * count / max(1, len(face))))
    raise InputError(f"Poisson-disk sampling did not reach {count} points; use `sampling: uniform`")


def _seed(rng: np.random.Generator) -> int:
    """A seed for point-cloud-utils: 0 would mean the time of day there."""
    return int(rng.integers(1, 2**31 - 1))
