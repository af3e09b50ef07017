"""The pose of one cloud, mesh or mixture on another, for the command `register`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.artifacts import provenance, read_metadata, write_json
from gmcn.data.containers import content_of
from gmcn.data.meshes import sample_mesh
from gmcn.data.reading import parse_geometry
from gmcn.data.splats import holds_splats, parse_splats, refuse_packed
from gmcn.device import own_defaults
from gmcn.errors import InputError, extras, foreign
from gmcn.inference.files import check_format
from gmcn.inference.generating import check_seed
from gmcn.inference.writing import save_array, save_ply
from gmcn.mixture import GaussianMixture, Mixture, MixtureTree
from gmcn.models import RegistrationNetwork
from gmcn.models.loading import load, model_path
from gmcn.pictures import clouds
from gmcn.registration import Registration, levels_of, search
from gmcn.registration.belief import Belief, believe
from gmcn.registration.rotations import AXES, UPWARDS

FORMATS = (".json", ".ply", ".html", ".png", ".npy")
POINTS = 2048  # of a mesh, of splats in a picture, and that a network is shown
SMALLEST, LARGEST = 3.0, 2.0  # how far clouds reach: parts of a trained object's reach, and times the largest one's
PICTURED = 4  # modes
SHORT = 1e-9

Shape = Tensor | np.ndarray | GaussianMixture | MixtureTree | str | os.PathLike


@own_defaults()
@torch.no_grad()
@extras()
def register(
    source: Shape,
    target: Shape,
    *,
    axis: str | Sequence[float] | None = None,
    within: float = 180.0,
    scale: bool = False,
    modes: int = 16,
    seed: int = 0,
    drop_not_finite: bool = False,
    model: str | os.PathLike | None = None,
    model_seed: int | None = None,
) -> Registration:
    """The poses ``scale R x + t`` of the source on the target where they overlap most, with weights.

    Source and target are clouds [M, 3], mixtures in 3D, trees, or files of clouds, meshes and splats. A mixture is
    fitted to a cloud (32 Gaussians, whose first centres ``seed`` draws); nothing is trained. The poses are those at
    which the mixtures overlap most, a closed form (:mod:`gmcn.registration.search`). Neither has to be complete.

    Args:
        axis: "x", "y", "z" or a direction: only turns about it; without one, all rotations.
        within: degrees by which the source may turn at most.
        scale: a common factor is free too. Without it sizes may differ by 20 times at most, as parts of one object may.
        modes: at most so many poses.
        drop_not_finite: leave out points and splats of a file that are not finite.
        model: a network of the task registration, as :func:`gmcn.load` takes it, whose classes both clouds belong to.
            They have to stand upright, z up, in its units; ``axis`` is then "z". What it says of either cloud, of
            which it is shown 2,048 points at most, counts beside the overlap.
        model_seed: which of several networks; None: the first.

    Raises:
        InputError: files or clouds that cannot be used, sizes in other units, and what the options do not allow.
    """
    if not 0 < within <= 180:
        raise InputError(f"within is {within}, but must be above 0 and at most 180 degrees")
    if modes < 1:
        raise InputError(f"modes is {modes}, but must be at least 1")
    if model is None and model_seed is not None:
        raise InputError("model_seed chooses among the networks of a model: give that too, or leave it out")
    check_seed(seed)
    direction, asked = _direction(axis), None
    if model is not None:
        asked, direction = _Asked.load(Path(model), model_seed), _upright(direction, scale)
    names, levels, shapes = [], [], []
    for name, shape in (("source", source), ("target", target)):
        if isinstance(shape, (str, os.PathLike)):
            name, shape = f"{name} {os.fspath(shape)}", shape_of(shape, drop_not_finite)
        names.append(name)
        levels.append(levels_of(shape, name, seed))
        shapes.append(shape)
    belief = None if asked is None else asked.belief(names, shapes)
    return search(*levels, axis=direction, within=within, scale=scale, most=modes, belief=belief)


def _upright(direction: Tensor | None, scale: bool) -> Tensor:  # [3]
    """The axis z, with which everything has to agree where a network is asked."""
    if scale:
        raise InputError("a network knows the sizes of its objects: leave scale out, or model")
    if direction is not None and not torch.allclose(direction.abs(), UPWARDS):
        raise InputError('a network gives turns about z: set axis to "z" or leave it out, or leave model out')
    return UPWARDS


@dataclass(frozen=True)
class _Asked:
    """A network that is asked about clouds, and how far its objects reach from the origin: the median, the largest."""

    path: Path
    network: RegistrationNetwork
    reach: float
    largest: float

    @classmethod
    def load(cls, model: Path, seed: int | None) -> _Asked:
        path = model_path(model, seed)
        network, metadata = load(path, seed=seed), read_metadata(path)
        if not isinstance(network, RegistrationNetwork):
            raise InputError(f"{path} gives no poses; take a network of the task registration")
        with foreign(f"{path} does not say in which units its clouds were"):
            _, reach, largest = (float(value) for value in metadata["trained"]["reach"])
        return cls(path, network, reach, largest)

    def belief(self, names: Sequence[str], shapes: Sequence[Any]) -> Belief:
        clouds = [_some(_cloud(shape)).double() for shape in shapes]
        fewest = self.network.neighbours + 1
        for name, points in zip(names, clouds, strict=True):
            far = (points - points.mean(0)).norm(dim=-1).max().item()
            if not self.reach / SMALLEST <= far <= LARGEST * self.largest:
                raise InputError(
                    f"the {name} reaches {far:.3g} from its middle, and the objects of {self.path} {self.reach:.3g}: "
                    "it is in other units; scale it, or leave model out"
                )
            if len(points) < fewest:
                raise InputError(f"the {name} has {len(points)} points, and {self.path} needs {fewest}")
        return believe(self.network, *clouds)


def _some(points: Tensor) -> Tensor:  # [M, 3]
    """At most so many as a network is shown."""
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:POINTS]]


def _cloud(shape: Any) -> Tensor:  # [M, 3]
    """Points, or some of a mixture."""
    leaves = shape.leaves() if isinstance(shape, MixtureTree) else shape
    if isinstance(leaves, GaussianMixture):
        return leaves.sample(POINTS, torch.Generator().manual_seed(0))
    return torch.as_tensor(leaves)


def _direction(axis: str | Sequence[float] | None) -> Tensor | None:  # [3]
    if axis is None:
        return None
    if isinstance(axis, str):
        if axis not in AXES:
            raise InputError(f"axis is '{axis}', but must be one of {', '.join(AXES)}, or a direction")
        return torch.eye(3, dtype=torch.float64)[AXES[axis]]
    try:
        direction = torch.as_tensor(axis, dtype=torch.float64)
    except (TypeError, ValueError):
        direction = torch.zeros(0)
    if direction.shape != (3,) or not direction.isfinite().all() or direction.norm() < SHORT:
        raise InputError(f"axis is {axis!r}, but must be three numbers, not all 0")
    return direction / direction.norm()


def shape_of(path: str | os.PathLike, drop_not_finite: bool = False) -> Tensor | GaussianMixture:  # [M, 3]
    """What a file has: points of a cloud or of a mesh's surface, or a mixture of splats."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is a folder" if path.is_dir() else f"{path} does not exist")
    content = content_of(path)
    if path.suffix.lower() == ".ply":
        refuse_packed(content, str(path))
        if holds_splats(content):
            found = parse_splats(content, str(path), drop_not_finite=drop_not_finite)
            parts = (found[name] for name in Mixture._fields)
            return GaussianMixture.from_mixture(Mixture(*(torch.from_numpy(part).double() for part in parts)))
    points, triangles = parse_geometry(content, str(path), drop_not_finite=drop_not_finite)
    if triangles is not None:
        points = sample_mesh(points, triangles, POINTS, seed=0, source=str(path))
    return torch.from_numpy(points).double()


def write(path: str, source: str, target: str, found: Registration, about: dict[str, Any]) -> None:
    """As the name says: all modes (.json), the source's points moved (.ply, .npy), or before and after (.png, .html).

    Of a mesh and of splats they are 2,048 samples.
    """
    check_format(path, FORMATS)
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        write_json(path, {"options": about, **_as_dict(found), "provenance": provenance()})
        return
    dropping = bool(about.get("drop_not_finite"))
    shape = _points(source, dropping)
    if suffix == ".ply":
        save_ply(found.move(shape).numpy(), Path(path))
    elif suffix == ".npy":
        save_array(found.move(shape).numpy(), Path(path))
    else:
        _draw(Path(path), shape, _points(target, dropping), found)


def _as_dict(found: Registration) -> dict[str, Any]:
    names = ("weights", "similarities", "rotations", "translations", "scales")
    modes = zip(*(getattr(found, name).tolist() for name in names), found.matrices.tolist(), strict=True)
    singular = ("weight", "similarity", "rotation", "translation", "scale", "matrix")
    axis = None if found.axis is None else found.axis.tolist()
    return {"free_axis": axis, "modes": [dict(zip(singular, mode, strict=True)) for mode in modes]}


def _points(path: str, drop_not_finite: bool) -> Tensor:  # [M, 3]
    return _cloud(shape_of(path, drop_not_finite))


def _draw(path: Path, source: Tensor, target: Tensor, found: Registration) -> None:
    modes = range(min(PICTURED, len(found.weights)))
    pairs = [source, *(found.move(source, mode) for mode in modes)]
    panels, colours = zip(*(clouds.together(target.numpy(), moved.numpy()) for moved in pairs), strict=True)
    titles = ["before", *(f"mode {mode + 1}: {100 * found.weights[mode]:.2g} %" for mode in modes)]
    clouds.draw_clouds(panels, path, colours, columns=len(panels), titles=titles)
