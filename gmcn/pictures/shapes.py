"""What can be looked at: one cloud, mesh, image or mixture out of whatever file it is in."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmcn.artifacts import load_tensors
from gmcn.data.npz import read_arrays
from gmcn.data.off import read_off
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import visible


@dataclass(frozen=True)
class Shape:
    """One object; a mixture may come with the points or the image that it was fitted to."""

    name: str
    points: np.ndarray | None = None  # [M, D] float64; of a mesh its vertices
    triangles: np.ndarray | None = None  # [T, 3] int64
    image: np.ndarray | None = None  # [H, W]
    mixture: Mixture | None = None  # [N]
    fit: str | None = None  # the mixture's, by its name in the configuration


def read_shape(
    path: str | Path, *, index: int | None = None, name: str | None = None, points: Path | None = None
) -> Shape:
    """Read one object of a file: the first, or the one of that ``index`` (from 0) or ``name``.

    ``points`` is the points artifact of a mixtures artifact; where it is not given, the one beside it
    (``../points/<data set>.safetensors``) is used if it is there.

    Raises:
        InputError: an unknown kind of file, a missing or damaged one, an object that is not there, numbers that are
            not finite, covariances that are not positive definite.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"cannot show {path}: its name must end in one of {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if reader is _artifact:
        return checked(_artifact(path, index, name, points), path)
    if points is not None:
        raise InputError(f"--points is for mixtures artifacts, and {path} is none")
    return checked(reader(path, index, name), path)


def pick(source: Any, count: int, names: Sequence[str] | None, index: int | None, name: str | None) -> int:
    """The row of the object ``index`` or ``name`` (the first if neither) among ``count``; ``source`` holds them."""
    if name is not None:
        if names is None:
            raise InputError(f"the objects of {source} have no names; say which one by --index")
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise InputError(f"no '{name}' in {source}{hint} ({count} objects, '{names[0]}' to '{names[-1]}')")
        return list(names).index(name)
    if not 0 <= (index or 0) < count:
        raise InputError(f"no object {index} in {source}: it has {count}, counted from 0")
    return index or 0


def mixture_of(tensors: dict[str, torch.Tensor], row: int) -> Mixture:
    """One mixture [N] of a mixtures artifact, in float64."""
    return Mixture(*(tensors[field][row].double() for field in Mixture._fields))


def _artifact(path: Path, index: int | None, name: str | None, points: Path | None = None) -> Shape:
    tensors, metadata = load_tensors(path)
    names = metadata.get("names")
    if not {"weights", "positions", "covariances"} <= tensors.keys():
        if points is not None:
            raise InputError(f"--points is for mixtures artifacts, and {path} is none")
        return _sampled(path, tensors, names, index, name)
    row = pick(path, len(tensors["weights"]), names, index, name)
    title, mixture = names[row] if names else f"{path.stem} {row}", visible(mixture_of(tensors, row))
    shape = Shape(title, mixture=mixture, fit=metadata.get("fit"))
    beside = path.parent.parent / "points" / f"{metadata.get('dataset')}.safetensors"
    if points is None and not beside.is_file():
        return shape
    source = Path(points or beside)
    tensors, metadata = load_tensors(source)
    sampled = names is not None and metadata.get("names") == names
    if points is None and not (sampled and {"points", "images"} & tensors.keys()):  # of splats there are none
        return shape
    if not sampled:
        raise InputError(f"{points} is not what {path} was fitted to: the names of its objects are others")
    found = _sampled(source, tensors, names, row, None)
    return replace(shape, points=found.points, image=found.image)


def _sampled(path: Path, tensors: dict[str, torch.Tensor], names: list[str] | None, index, name) -> Shape:
    key = next((key for key in ("points", "images") if key in tensors), None)
    if key is None:
        raise InputError(f"{path} holds neither mixtures nor points or images, but {', '.join(sorted(tensors))}")
    row = pick(path, len(tensors[key]), names, index, name)
    values = tensors[key][row].numpy()
    title = names[row] if names else f"{path.stem} {row}"
    return Shape(title, points=values) if key == "points" else Shape(title, image=values)


def _arrays(path: Path, index: int | None, name: str | None) -> Shape:
    """.npy and .npz: see :func:`gmcn.data.npz.read_arrays`."""
    points, names = read_arrays(path)
    if points.ndim == 2:
        pick(path, 1, None, index, name)
        return Shape(path.stem, points=points)
    row = pick(path, len(points), names, index, name)
    return Shape(names[row] if names else f"{path.stem} {row}", points=points[row])


def _text(path: Path, index: int | None, name: str | None) -> Shape:
    """.xyz and .txt: a point per line, coordinates first, between spaces or commas."""
    pick(path, 1, None, index, name)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            rows.append([float(words[axis]) for axis in range(3)])
        except (ValueError, IndexError):
            raise InputError(f"{path}, line {number}: a point needs three numbers, not '{line[:40]}'") from None
    return Shape(path.stem, points=np.array(rows).reshape(-1, 3))


def _off(path: Path, index: int | None, name: str | None) -> Shape:
    pick(path, 1, None, index, name)
    vertices, triangles = read_off(path)
    return Shape(path.stem, points=vertices, triangles=triangles if len(triangles) else None)


def _trimesh(path: Path, index: int | None, name: str | None) -> Shape:
    """.obj, .ply and .stl: a mesh, or a cloud where there are no triangles."""
    import trimesh

    pick(path, 1, None, index, name)
    try:
        # A scene's parts are brought together; nothing is merged or repaired.
        loaded = trimesh.load_scene(path, process=False)
        parts = loaded.dump()
    except Exception as error:  # every format's reader has its own
        raise InputError(f"{path} is not a readable {path.suffix} ({error or type(error).__name__})") from error
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    if meshes:
        starts = np.cumsum([0] + [len(part.vertices) for part in meshes])
        triangles = np.concatenate([part.faces + start for part, start in zip(meshes, starts[:-1], strict=True)])
        return Shape(path.stem, np.concatenate([part.vertices for part in meshes]), triangles)
    return Shape(path.stem, np.concatenate([np.zeros((0, 3)), *(part.vertices for part in parts)]))


READERS = {
    ".safetensors": _artifact,
    ".npy": _arrays,
    ".npz": _arrays,
    ".xyz": _text,
    ".txt": _text,
    ".off": _off,
    ".obj": _trimesh,
    ".ply": _trimesh,
    ".stl": _trimesh,
}


def checked(shape: Shape, path: Path) -> Shape:
    """The shape, its points in float64; :class:`InputError` names ``path`` where there is nothing to draw."""
    where = f"'{shape.name}' of {path}"
    if shape.points is not None:
        if len(shape.points) == 0:
            raise InputError(f"{where} is empty: it has no points")
        bad = ~np.isfinite(shape.points).all(-1)
        if bad.any():
            raise InputError(f"{where} has a coordinate that is not finite in point {int(bad.argmax())}; repair it")
        shape = replace(shape, points=np.array(shape.points, dtype=np.float64))
    if shape.mixture is not None:
        if not all(tensor.isfinite().all() for tensor in shape.mixture):
            raise InputError(f"the mixture {where} has a number that is not finite; fit it again")
        if not (shape.mixture.weights != 0).any():
            raise InputError(f"the mixture {where} is empty: all its weights are 0")
        bad = torch.linalg.cholesky_ex(shape.mixture.covariances).info != 0
        if bad.any():
            component = int(bad.int().argmax())
            raise InputError(f"the mixture {where} has a covariance that is not positive definite ({component})")
    return shape
