"""Completes partial clouds by a network that has learnt whole ones, for the command `complete`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.artifacts import provenance, read_metadata, save_tensors
from gmcn.data.containers import content_of
from gmcn.data.objects import TRAIN
from gmcn.data.reading import parse_geometry
from gmcn.data.views import FEWEST
from gmcn.device import own_defaults, select_device
from gmcn.errors import InputError, extras, foreign
from gmcn.fitting import adapt
from gmcn.inference.files import check_format
from gmcn.inference.generating import check_seed
from gmcn.inference.writing import save_array, save_ply
from gmcn.mixture import GaussianMixture
from gmcn.models import PointGMM
from gmcn.models.loading import load, model_path
from gmcn.pictures import clouds

FORMATS = (".ply", ".html", ".png", ".npy", ".safetensors")
SLACK = 1.5  # over the farthest point of all training objects


@dataclass(frozen=True)
class Completed:
    """A whole object, in the units of the partial cloud's file."""

    seen: Tensor  # [M, 3] the partial cloud
    mixture: GaussianMixture  # [N] of the whole
    points: Tensor  # [P, 3] drawn from it


@own_defaults()
@torch.no_grad()
@extras()
def complete(
    model: str | os.PathLike,
    partial: str | os.PathLike,
    *,
    points: int = 2048,
    adapted: bool = True,
    normalize: bool = False,
    drop_not_finite: bool = False,
    seed: int = 0,
    model_seed: int | None = None,
    device: str = "auto",
) -> Completed:
    """The whole object of a partial cloud: its mixture, and ``points`` of it.

    ``model`` and ``model_seed`` are those of :func:`gmcn.load`. The cloud (.npy .obj .ply .txt .xyz) has to lie as the
    training objects do; ``normalize`` brings its middle to theirs, and its farthest point to as far from it;
    ``drop_not_finite`` leaves out points that are not finite. With ``adapted`` the mixture is moved to the points that
    are seen (:func:`gmcn.fitting.adapt`); its weights stay.

    Raises :class:`gmcn.errors.InputError` for a network that completes nothing, fewer than 8 points, and a cloud that
    is not finite, has all its points in one place or is in other units.
    """
    target = select_device(device)
    path = model_path(Path(model), model_seed)
    network, metadata = load(path, seed=model_seed, device=target), read_metadata(path)
    if not isinstance(network, PointGMM):
        raise InputError(f"{path} completes no clouds; take a network of the task generation")
    check_seed(seed)
    if points < 1:
        raise InputError(f"points is {points}, but must be at least 1")
    given = _read(Path(partial), drop_not_finite)
    with foreign(f"{path} does not say in which units its clouds were"):
        _, reach, largest = (float(value) for value in metadata["trained"]["reach"])
    middle, scale = torch.zeros(3, dtype=given.dtype), 1.0
    if normalize:
        middle = (given.amin(0) + given.amax(0)) / 2
        scale = float((given - middle).norm(dim=-1).max()) / reach
    own = (given - middle) / scale
    _check_units(own, reach, largest, Path(partial))
    seen = own.float()[None].to(target)
    whole = network(seen).leaves()
    if adapted:
        whole = adapt(whole, seen, weights=False)
    drawn = whole.sample(points, torch.Generator().manual_seed(seed))
    matrix = scale * torch.eye(3, dtype=seen.dtype, device=target)
    mixture = whole.transform(matrix, middle.to(seen)).to("cpu")[0]
    return Completed(given, mixture, drawn[0].cpu().double() * scale + middle)


def _read(path: Path, drop_not_finite: bool) -> Tensor:  # [M, 3] float64
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    found, triangles = parse_geometry(content_of(path), str(path), drop_not_finite=drop_not_finite)
    if triangles is not None:
        raise InputError(f"{path} is a mesh; complete takes the points of a scan")
    if len(found) < FEWEST:
        raise InputError(f"{path} has {len(found)} points; a partial view needs {FEWEST} or more")
    if (found == found[0]).all():
        raise InputError(f"{path} has all its points in one place; there is nothing to complete")
    return torch.from_numpy(found)


def _check_units(points: Tensor, reach: float, largest: float, path: Path) -> None:
    far = points.norm(dim=-1).max().item()
    if not reach / 10 <= far <= SLACK * largest:
        raise InputError(
            f"{path} reaches {far:.3g} from the origin, and the objects of this network {reach:.3g}: it is in other "
            "units or lies elsewhere; move and scale it, or give --normalize"
        )


def write(path: str, found: Completed, about: dict[str, Any]) -> None:
    """Points and mixture as the name says: .ply and .npy the points of the whole, .safetensors its mixture.

    A page or picture shows what was given and the whole side by side.
    """
    check_format(path, FORMATS)
    suffix, points = Path(path).suffix.lower(), found.points.numpy()
    if suffix == ".ply":
        save_ply(points, Path(path))
    elif suffix == ".npy":
        save_array(points, Path(path))
    elif suffix == ".safetensors":
        mixture = found.mixture.mixture()
        tensors = {name: value[None] for name, value in mixture._asdict().items()}
        tensors["split"] = torch.full((1,), TRAIN, dtype=torch.uint8)
        metadata = {"dataset": "completed", "names": ["whole"], "completed": about, "provenance": provenance()}
        save_tensors(path, tensors, metadata)
    else:
        pair = [found.seen.numpy(), points]
        shades = [
            np.tile(colour, (len(cloud), 1)) for colour, cloud in zip((clouds.BLUE, clouds.RED), pair, strict=True)
        ]
        clouds.draw_clouds(pair, Path(path), shades, columns=2, titles=["given", "whole"])
