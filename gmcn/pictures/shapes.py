"""Reads one cloud, mesh, image or mixture from any file, to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmcn.artifacts import load_tensors
from gmcn.data.containers import content_of
from gmcn.data.conversion import hint
from gmcn.data.npz import parse_npy, read_arrays
from gmcn.data.pictures import IMAGES, parse_image
from gmcn.data.reading import SUFFIXES as GEOMETRY
from gmcn.data.reading import parse_geometry
from gmcn.data.samples import finite_rows
from gmcn.data.splats import holds_splats, parse_splats
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import extent, visible
from gmcn.stages.paths import PATHS

ARTIFACT = ".safetensors"
SUFFIXES = tuple(dict.fromkeys((ARTIFACT, *GEOMETRY, *IMAGES)))
# An array of points with colours and normals has so many times as many rows as columns, and more.
_NARROW = 8


@dataclass(frozen=True)
class Shape:
    """One object; a mixture may come with the points or the image that it was fitted to."""

    name: str
    points: np.ndarray | None = None  # [M, D] float64; of a mesh its vertices
    triangles: np.ndarray | None = None  # [T, 3] int64
    image: np.ndarray | None = None  # [H, W]
    mixture: Mixture | None = None  # [N]
    fit: str | None = None  # the mixture's, by its name in the configuration

    def extent(self, **options: float) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest coordinates [D] of points and mixture; see :func:`gmcn.pictures.drawing.extent`."""
        return extent(self.points, *([] if self.mixture is None else [self.mixture]), **options)


def read_shape(
    path: str | Path,
    *,
    index: int | None = None,
    name: str | None = None,
    points: Path | None = None,
    drop_not_finite: bool = False,
) -> Shape:
    """Read one object of a file: the first, or the one of that ``index`` (from 0) or ``name``.

    ``points`` is the points artifact of a mixtures artifact; where it is not given, the one beside it
    (``../points/<data set>.safetensors``) is used if it is there. ``drop_not_finite`` leaves out points and splats
    with a value that is not finite.

    Meshes, clouds, splats and images are read by the readers of :func:`gmcn.predict` and of the stage `sample`.

    Raises:
        InputError: an unknown kind of file, a missing or damaged one, an object that is not there, numbers that are
            not finite, covariances that are not positive definite.
    """
    path = Path(path)
    suffix, which = path.suffix.lower(), index if name is None else name
    if suffix not in SUFFIXES:
        raise InputError(f"cannot show {path}: its name must end in one of {', '.join(SUFFIXES)}{hint(path.name)}")
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if suffix == ARTIFACT:
        return checked(_artifact(path, which, points), path)
    if points is not None:
        raise InputError(f"--points is for mixtures artifacts, and {path} is none")
    if suffix == ".npz" or (suffix == ".npy" and _are_points(parse_npy(content_of(path), str(path)).shape)):
        return checked(_arrays(path, which, drop_not_finite), path)
    pick(path, 1, None, which)
    return checked(_only(path, drop_not_finite), path)


def pick(source: Any, count: int, names: Sequence[str] | None, which: str | int | None) -> int:
    """The row of the object of that name or index (None: the first) among ``count``; ``source`` holds them."""
    if isinstance(which, str):
        if names is None:
            raise InputError(f"the objects of {source} have no names; say which one by --index")
        if which not in names:
            raise unknown(f"object of {source}", which, names)
        return list(names).index(which)
    if not 0 <= (which or 0) < count:
        raise InputError(f"no object {which} in {source}: it has {count}, counted from 0")
    return which or 0


def mixture_of(tensors: dict[str, torch.Tensor], row: int) -> Mixture:
    """One mixture [N] of a mixtures artifact, in float64."""
    return Mixture(*(tensors[field][row].double() for field in Mixture._fields))


# The dimensions of the tensors of an artifact of S objects, and in 2D or 3D the length of the last ones.
_LAYOUT = {"weights": (2, 0), "positions": (3, 1), "covariances": (4, 2), "points": (3, 1), "images": (3, 0)}


def _check_layout(path: Path, tensors: dict[str, torch.Tensor], names: Sequence[str] | None) -> None:
    """Refuse tensors that are not of S objects, each with its name, in 2D or 3D."""
    shapes = {name: tensor.shape for name, tensor in tensors.items() if name in _LAYOUT}
    for name, shape in shapes.items():
        dims, last = _LAYOUT[name]
        if len(shape) != dims or any(size not in (2, 3) for size in shape[dims - last :]):
            raise InputError(f"{path}: its {name} are {list(shape)}; an artifact has several objects in 2D or 3D")
        if names is not None and shape[0] != len(names):
            raise InputError(f"{path} has {len(names)} names for {shape[0]} objects; make it again")
    if len({shapes[name][:2] for name in Mixture._fields if name in shapes}) > 1:
        raise InputError(f"{path}: weights, positions and covariances are of different numbers of Gaussians")


def _artifact(path: Path, which: str | int | None, points: Path | None) -> Shape:
    tensors, metadata = load_tensors(path)
    names = metadata.get("names")
    _check_layout(path, tensors, names)
    if not {"weights", "positions", "covariances"} <= tensors.keys():
        if points is not None:
            raise InputError(f"--points is for mixtures artifacts, and {path} is none")
        return sampled(path, tensors, names, which)
    row = pick(path, len(tensors["weights"]), names, which)
    shape = Shape(_title(path, names, row), mixture=visible(mixture_of(tensors, row)), fit=metadata.get("fit"))
    beside = path.parent.parent / PATHS["points"].format(dataset=metadata.get("dataset"))
    if points is None and not beside.is_file():
        return shape
    source = Path(points or beside)
    tensors, metadata = load_tensors(source)
    alike = names is not None and metadata.get("names") == names
    if points is None and not (alike and {"points", "images"} & tensors.keys()):  # of splats there are none
        return shape
    if not alike:
        raise InputError(f"{points} is not what {path} was fitted to: their objects have other names")
    found = sampled(source, tensors, names, row)
    return replace(shape, points=found.points, image=found.image)


def sampled(path: Path, tensors: dict[str, torch.Tensor], names: list[str] | None, which: str | int | None) -> Shape:
    """One object of a points artifact: a cloud, or an image."""
    key = next((key for key in ("points", "images") if key in tensors), None)
    if key is None:
        raise InputError(f"{path} holds neither mixtures nor points or images, but {', '.join(sorted(tensors))}")
    row = pick(path, len(tensors[key]), names, which)
    field = "image" if key == "images" else "points"
    return Shape(_title(path, names, row), **{field: tensors[key][row].numpy()})


def _title(path: Path, names: Sequence[str] | None, row: int) -> str:
    return names[row] if names else f"{path.stem} {row}"


def _are_points(shape: tuple[int, ...]) -> bool:
    """True for points [M, 2 or 3] and clouds [S, M, 2 or 3]; False for more columns, and for an image."""
    return len(shape) == 3 or shape[-1:] in ((2,), (3,))


def _arrays(path: Path, which: str | int | None, drop: bool) -> Shape:
    """.npz, and .npy of points: see :func:`gmcn.data.npz.read_arrays`."""
    points, names = read_arrays(path)
    if points.ndim == 2:
        pick(path, 1, None, which)
        return Shape(path.stem, points=finite_rows(points, str(path), "point", drop=drop))
    row = pick(path, len(points), names, which)
    title = _title(path, names, row)
    return Shape(title, points=finite_rows(points[row], f"'{title}' of {path}", "point", drop=drop))


def _only(path: Path, drop: bool) -> Shape:
    """A file's mesh, cloud or image; or Gaussian splats, see :mod:`gmcn.data.splats`."""
    content, source, suffix = content_of(path), str(path), path.suffix.lower()
    if suffix == ".ply" and holds_splats(content):
        splats = parse_splats(content, source, drop_not_finite=drop)
        return Shape(path.stem, mixture=Mixture(*(torch.from_numpy(splats[field]) for field in Mixture._fields)))
    sides = parse_npy(content, source).shape if suffix == ".npy" else ()
    # Hardly an image is so narrow; what it lacks as a cloud is then said.
    if suffix in IMAGES and not (len(sides) == 2 and max(sides) > _NARROW * min(sides)):
        return Shape(path.stem, image=parse_image(content, source))
    points, triangles = parse_geometry(content, source, drop_not_finite=drop)
    return Shape(path.stem, points, triangles if triangles is not None and len(triangles) else None)


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
    if shape.image is not None and not np.isfinite(shape.image).all():
        raise InputError(f"{where} has a brightness that is not finite; repair it")
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
