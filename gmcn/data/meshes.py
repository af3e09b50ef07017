"""Points on meshes, through point-cloud-utils, with exact counts and repeatable seeds."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from gmcn.data.off import parse_off
from gmcn.data.samples import TEST, TRAIN, Samples
from gmcn.errors import InputError, unknown

SAMPLINGS = ("uniform", "poisson")

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
) -> np.ndarray:  # [count, 3] float32
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
    return (points * size + middle).astype(np.float32)


def read_meshes(settings: dict[str, Any], files: list[Path]) -> Samples:
    """Sample all meshes of a zip in ModelNet's layout: ``<set>/<class>/<train|test>/<name>.off``.

    ``settings``: ``points`` per mesh (1024), ``sampling`` (uniform), ``seed`` (1). The archive is read in place;
    nothing is unpacked. The points of a mesh depend on the seed and on its place in the sorted archive.
    """
    if len(files) != 1:
        raise InputError(f"a data set of meshes is one .zip file, not {[path.name for path in files]}")
    path, seed = files[0], settings.get("seed", 1)
    labels, split, names, clouds = [], [], [], []
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            classes = sorted({class_name for class_name, *_ in members})
            seeds = np.random.SeedSequence(seed).generate_state(len(members))
            for (class_name, part, name, member), mesh_seed in zip(_track(members), seeds, strict=True):
                source = f"{path}:{member}"
                cloud = sample_mesh(
                    *parse_off(_read(archive, member), source),
                    settings.get("points", 1024),
                    settings.get("sampling", "uniform"),
                    seed=int(mesh_seed),
                    source=source,
                )
                labels.append(classes.index(class_name))
                split.append(TEST if part == "test" else TRAIN)
                names.append(name)
                clouds.append(cloud)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); delete it and download it again") from error
    return Samples(
        labels=np.array(labels, dtype=np.int64),
        split=np.array(split, dtype=np.uint8),
        names=names,
        class_names=classes,
        points=np.stack(clouds),
    )


def _members(archive: zipfile.ZipFile, path: Path) -> list[tuple[str, str, str, str]]:
    """(class, part, name, member) of every mesh, sorted; other files (also macOS's shadow copies) are left out."""
    found = []
    for member in archive.namelist():
        parts = PurePosixPath(member).parts
        if len(parts) < 3 or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        if parts[-2] in ("train", "test") and parts[-1].endswith(".off"):
            found.append((parts[-3], parts[-2], parts[-1].removesuffix(".off"), member))
    if not found:
        raise InputError(f"{path} holds no <class>/<train|test>/<name>.off")
    return sorted(found)


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except RuntimeError as error:  # encrypted, or an unknown method of compression
        raise zipfile.BadZipFile(str(error)) from error


def _track(items: list) -> Any:
    return track(items, "sample meshes", console=Console(stderr=True))


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
