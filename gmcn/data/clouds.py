"""Point clouds: one .npz of all of them, Qi et al.'s archive of resampled ModelNet, or a folder of a user's own."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.data.containers import Member, contents, find_members, labelled, list_files
from gmcn.data.kinds import COUNT, Clouds, told
from gmcn.data.meshes import seed_of
from gmcn.data.npz import check_upright, parse_npy, parse_npz, read_npz
from gmcn.data.obj import parse_obj
from gmcn.data.ply import read_vertices
from gmcn.data.samples import PARTS, Row, Samples, cloud_row, finite_rows
from gmcn.data.xyz import parse_xyz
from gmcn.errors import InputError

FORMATS = (".npy", ".npz", ".obj", ".ply", ".txt", ".xyz")


def read_clouds(settings: dict[str, Any], files: list[Path]) -> Samples:
    """The clouds of an .npz (:func:`gmcn.data.npz.read_npz`), or of a zip or folder of one file per cloud.

    ``settings`` are those of :class:`gmcn.data.kinds.Clouds`.

    Raises:
        InputError: more than one file, a damaged archive, lists that do not fit it. A cloud that cannot be read or
            has too few points is a bad object.
    """
    if len(files) != 1:
        raise InputError(f"a data set of clouds is one file, not {[path.name for path in files]}")
    path, own = files[0], told(Clouds, settings)
    if path.suffix.lower() == ".npz":
        return read_npz(path, settings)
    left_out, class_names = [], None
    if own.split_lists:
        members, class_names = _listed(path, own.split_lists)
    else:
        members, left_out = find_members(path, FORMATS)
    return Samples(
        **labelled(members, class_names),
        left_out=left_out,
        items=functools.partial(contents, path),
        load=functools.partial(_load, own),
        costly=True,
    )


def parse_cloud(content: bytes, source: str, *, drop_not_finite: bool = False) -> np.ndarray:  # [M, 3] float64
    """The points of a file's content; the name's end says the format.

    ``drop_not_finite`` leaves out points with a coordinate that is no number, which else are an error.

    .npy and .npz hold an array [M, 3 or more], .ply and .obj vertices, and everything else is text as
    :func:`gmcn.data.xyz.parse_xyz` reads it.
    """
    return finite_rows(_points(content, source), source, "point", drop=drop_not_finite)


def _points(content: bytes, source: str) -> np.ndarray:  # [M, 3] float64, whatever their values
    suffix = PurePosixPath(source).suffix.lower()
    if suffix == ".ply":
        vertices = read_vertices(content, source, ("x", "y", "z"))
        points = np.stack([vertices[axis] for axis in "xyz"], axis=-1)
    elif suffix == ".obj":
        points, _ = parse_obj(content, source, surface=False)
    else:
        points = {".npy": parse_npy, ".npz": parse_npz}.get(suffix, parse_xyz)(content, source)
    check_upright(points.shape, source)
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in "fiu":
        raise InputError(f"{source} holds {points.dtype} {points.shape}; a cloud is numbers of shape (points, 3)")
    return points[:, :3].astype(np.float64)


def _load(own: Clouds, item: tuple[str, str, bytes]) -> Row:
    key, source, content = item
    # Qi et al. wrote their points in an order of which every beginning is evenly spread.
    rng = None if own.split_lists else np.random.default_rng(seed_of(own.seed, key))
    return cloud_row(_points(content, source), own, own.points or COUNT, rng, source)


def _listed(path: Path, prefix: str) -> tuple[list[Member], list[str]]:
    """The objects that <prefix>_train.txt and <prefix>_test.txt name, with the classes of <prefix>_shape_names.txt.

    The object bathtub_0001 is <folder of the lists>/bathtub/bathtub_0001.txt.
    """
    wanted = (f"{prefix}_shape_names", *(f"{prefix}_{part}" for part in PARTS))
    found = {PurePosixPath(file).stem: file for file in list_files(path) if PurePosixPath(file).stem in wanted}
    missing = [f"{name}.txt" for name in wanted if name not in found]
    if missing:
        raise InputError(f"{path} holds no {', '.join(missing)}; is it Qi et al.'s modelnet40_normal_resampled.zip?")
    classes, *parts = (_lines(path, found[name]) for name in wanted)
    folder = PurePosixPath(found[wanted[0]]).parent
    members = []
    for part, names in zip(PARTS, parts, strict=True):
        for name in names:
            class_name = name.rpartition("_")[0]
            members.append(Member(class_name, part, name, str(folder / class_name / f"{name}.txt")))
    return sorted(members), classes


def _lines(path: Path, file: str) -> list[str]:
    (content,) = contents(path, [Member("", "", "", file)])
    if isinstance(content, InputError):
        raise content
    return content[2].decode(errors="replace").split()
