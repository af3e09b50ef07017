"""Files become a network's input: read, sampled, normalised and fitted as the network's data set was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmcn.artifacts import open_tensors
from gmcn.data.containers import content_of, placed
from gmcn.data.conversion import hint
from gmcn.data.meshes import sample_mesh, seed_of
from gmcn.data.npz import read_arrays
from gmcn.data.objects import Inputs, check_mixtures, each
from gmcn.data.pictures import IMAGES, bright_border, parse_image, scale
from gmcn.data.reading import SUFFIXES as GEOMETRY
from gmcn.data.reading import parse_geometry
from gmcn.data.samples import finite_rows, normalize, resize, stored
from gmcn.data.splats import prepare_splats, refuse_packed
from gmcn.errors import InputError, foreign
from gmcn.fitting import fit_images, fit_points, reduce_mixtures
from gmcn.fitting.settings import NETWORK
from gmcn.mixture import Mixture
from gmcn.ops.checks import check_mixture

ARTIFACT = ".safetensors"
# Rows of an artifact that are read and fitted at once.
_ROWS = 32

# An object's name, None for a file of one object, and the object: a mixture [N], an image [H, W] or points [M, 3].
Named = tuple[str | None, Inputs]


class Reader:
    """Turns files into the objects that a network takes: mixtures, or what was sampled where nothing was fitted.

    ``inputs`` is what :func:`gmcn.data.preparation.describe_inputs` said of its training. Images of another size are
    refused unless ``rescale``; with ``invert`` their brightest pixel becomes black and a black one as bright.
    ``drop_not_finite`` leaves out points and splats with a value that is not finite, which networks whose data set
    does so do by themselves. ``vary`` makes variations [V, ...] of what was sampled, in place of an object. ``paper``
    collects images that look like dark ink on white paper.

    What is random depends on the data set's and the fit's seed and on the file's name only, never on other files: in
    <class>/<train|test>/<name>.<ext> points are drawn as the stage `sample` does.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        *,
        rescale: bool = False,
        invert: bool = False,
        drop_not_finite: bool = False,
        vary: Callable[[torch.Tensor, str], Inputs] | None = None,
    ):
        self._vary = vary
        self._data, self._fit, self._rescale, self._invert = dict(inputs["data"]), inputs["fit"], rescale, invert
        self._data["drop_not_finite"] = drop_not_finite or self._data.get("drop_not_finite", False)
        self.paper: list[Path] = []
        self._options = {k: v for k, v in (self._fit or {}).items() if k != "components" and v is not None}
        if inputs.get("kind") == "vectors":
            self.kind, self.suffixes = "vectors", (ARTIFACT,)
        elif "size" in self._data:
            self.kind, self.suffixes = "images", (*IMAGES, ARTIFACT)
        elif "points" in self._data:
            self.kind, self.suffixes = "points", tuple(dict.fromkeys((*GEOMETRY, ".npz", ARTIFACT)))
        else:  # splats, which are mixtures as they are
            self.kind, self.suffixes = "mixtures", (".ply", ARTIFACT)
        if invert and self.kind != "images":
            raise InputError(f"only images can be inverted, and this network was trained on {self.kind}")
        if rescale and self.kind != "images":
            raise InputError(f"only images can be resized, and this network was trained on {self.kind}")

    def count(self, path: Path) -> int:
        """How many objects a file seems to have."""
        if path.suffix.lower() != ARTIFACT:
            return 1
        try:
            with open_tensors(path) as (tensors, _):
                return next(
                    (
                        tensors[key].get_shape()[0]
                        for key in ("labels", "points", "images", "vectors")
                        if key in tensors
                    ),
                    1,
                )
        except InputError:
            return 1

    def read(self, path: Path) -> Iterator[Named]:
        """The objects of a file. Raises :class:`InputError`, which names it, at what cannot be used."""
        suffix = path.suffix.lower()
        if suffix not in self.suffixes:
            formats = ", ".join(self.suffixes)
            raise InputError(
                f"cannot classify {path}: this network was trained on {self.kind} ({formats}){hint(path.name)}"
            )
        if not path.is_file():
            raise InputError(f"{path} does not exist")
        if suffix == ARTIFACT:
            yield from self._artifact(path)
        elif suffix == ".npz":
            yield from self._archive(path)
        else:
            content = content_of(path)
            if suffix == ".ply":
                refuse_packed(content, str(path))
            if self.kind == "mixtures":
                yield None, self._splats(path, content)
                return
            row = self._image(path, content) if self.kind == "images" else self._cloud(path, content)
            yield None, self._fitted(row, path)

    def _splats(self, path: Path, content: bytes) -> Mixture:  # [N]
        components = 0 if self._fit is None else self._fit["components"]
        row = prepare_splats(content, str(path), self._data, components)
        whole = Mixture(*(torch.from_numpy(row[field])[None] for field in Mixture._fields))
        found = reduce_mixtures(whole, components, [str(path)]) if components else whole
        return found.map(lambda tensor: tensor[0])

    def _cloud(self, path: Path, content: bytes) -> np.ndarray:  # [M, 3]
        data, source = self._data, str(path)
        seed = seed_of(data.get("seed", 1), _key(path))
        points, triangles = parse_geometry(content, source, drop_not_finite=data["drop_not_finite"])
        if triangles is not None:
            sampling = data.get("sampling", "uniform")
            return sample_mesh(points, triangles, data["points"], sampling, seed=seed, source=source)
        # Qi et al.'s points come in an order of which every beginning is evenly spread.
        rng = None if data.get("split_lists") else np.random.default_rng(seed)
        return self._sized(points, rng, source)

    def _sized(self, points: np.ndarray, rng: np.random.Generator | None, source: str) -> np.ndarray:  # [M, 3]
        wanted, repeat = self._data["points"], self._data.get("repeat_points", False)
        if len(points) < wanted and not (repeat and len(points)):
            raise InputError(f"{source} has {len(points)} points; this network was trained on clouds of {wanted}")
        return resize(points, wanted, rng, repeat=repeat, source=source)

    def _image(self, path: Path, content: bytes) -> np.ndarray:  # [H, W]
        image = parse_image(content, str(path))
        bad = ~np.isfinite(image).all(1)
        if bad.any():
            raise InputError(f"{path} has a number that is not finite, in row {int(bad.argmax())}; repair it")
        if self._invert:
            image = image.max() - image
        height, width = self._data["size"]
        if image.shape != (height, width):
            if not self._rescale:
                raise InputError(
                    f"{path} has {image.shape[1]} x {image.shape[0]} pixels, but this network was trained on "
                    f"{width} x {height}; crop it, or scale it with --resize"
                )
            image = scale(image, height, width)
        if bright_border(image):
            self.paper.append(path)
        return image

    def _fitted(self, row: np.ndarray, source: Path | str) -> Inputs:
        """The mixture [N] of a cloud or image, or itself for a network that was trained without a fit."""
        if self.kind == "points" and self._data.get("normalize"):
            row = normalize(row)
        (inputs,) = self._prepared(torch.from_numpy(stored(row)[None]), [str(source)])
        return inputs

    def _prepared(self, rows: torch.Tensor, names: list[str]) -> list[Inputs]:
        """The objects that are made of what was sampled, or the variations of each."""
        if self._vary is None:
            objects = self._fit_rows(rows, names)
            return [each(objects, lambda tensor, index=index: tensor[index]) for index in range(len(rows))]
        return [self._vary(row[None], self.kind) for row in rows]

    def _fit_rows(self, rows: torch.Tensor, names: list[str]) -> Inputs:  # of S objects
        if self._fit is None:
            return rows
        if self._fit.get("method") == NETWORK:
            raise InputError(
                f"{names[0]} has no mixture yet: this network takes those that a PointGMM makes of clouds; make them "
                "with `gmcn fit --model`, and give the mixtures artifact"
            )
        function = fit_images if self.kind == "images" else fit_points
        with foreign(f"{names[0]} cannot be fitted as the network's data set was"):
            return function(rows, self._fit["components"], names=names, **self._options)

    def _archive(self, path: Path) -> Iterator[Named]:
        points, names = read_arrays(path)
        if points.shape[-1] != 3:
            raise InputError(f"{path} holds points in {points.shape[-1]}D, but this network was trained in 3D")
        if points.ndim == 2:
            yield None, self._fitted(self._cloud(path, content_of(path)), path)
            return
        for index, cloud in enumerate(points):
            name = names[index] if names else str(index)
            source = f"'{name}' of {path}"
            # As in a data set of one such file: of larger clouds the first points, whatever the others are.
            if not self._data["drop_not_finite"]:
                cloud = cloud[: self._data["points"]]
            rows = finite_rows(cloud.astype(np.float64), source, "point", drop=self._data["drop_not_finite"])
            yield name, self._fitted(self._sized(rows, None, source), source)

    def _artifact(self, path: Path) -> Iterator[Named]:
        """All objects of a mixtures artifact, as they are, or of a points artifact, fitted as the stage `fit` does."""
        with open_tensors(path) as (tensors, metadata), foreign(f"{path} is no artifact of objects"):
            ready = (self._fit is not None or self.kind == "mixtures") and "weights" in tensors
            key = "weights" if ready else self.kind
            if key not in tensors:
                raise InputError(f"{path} holds no {self.kind} and no mixtures, but {', '.join(tensors)}")
            self._check_origin(path, metadata, tensors[key].get_shape(), ready)
            count = tensors[key].get_shape()[0]
            names = metadata.get("names") or [str(index) for index in range(count)]
            if len(names) != count:
                raise InputError(f"{path} has {len(names)} names for {count} objects; make it again")
            for start in range(0, count, _ROWS):
                rows = slice(start, start + _ROWS)
                if ready:
                    if self._vary is not None:
                        raise InputError(f"{path} holds mixtures, and votes are cast on new fits; give its points")
                    objects = check_mixture(Mixture(*(tensors[field][rows] for field in Mixture._fields)), str(path))
                    check_mixtures(path, objects, names[rows])
                    found = [each(objects, lambda tensor, i=i: tensor[i]) for i in range(len(names[rows]))]
                else:
                    try:
                        found = self._prepared(tensors[key][rows], names[rows])
                    except InputError as error:
                        raise InputError(f"{path}: {error}") from error
                yield from zip(names[rows], found, strict=True)

    def _check_origin(self, path: Path, metadata: dict[str, Any], shape: list[int], ready: bool) -> None:
        """:class:`InputError` for an artifact that was made in another way than the network's."""
        settings = metadata.get("settings", {})
        if ready and self._fit is not None:
            made, wanted = ({k: v for k, v in s.items() if k != "seed"} for s in (settings, self._fit))
            if "data" in metadata:  # of the points that were fitted
                made, wanted = made | _units(metadata["data"]), wanted | _units(self._data)
        else:
            made, wanted = {"normalize": settings.get("normalize", False)}, _units(self._data)
            if self.kind == "mixtures":
                made, wanted = made | {"method": settings.get("method")}, wanted | {"method": None}
            elif self.kind != "vectors":  # the network itself refuses those of another length
                made |= {"size": shape[1:]} if self.kind == "images" else {"points": shape[1]}
        if made != wanted:
            raise InputError(f"{path} was made with {made}, but this network was trained with {wanted}")


def _units(data: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of objects those in which other objects must equal them."""
    return {"normalize": False} | {key: data[key] for key in ("normalize", "points", "size") if key in data}


def _key(path: Path) -> str:
    """The key on which the random numbers of a file's object depend; see :attr:`gmcn.data.containers.Member.key`."""
    member = placed(Path(os.path.abspath(path)).as_posix())  # of a link itself: what it points at may lie anywhere
    return member.key if member else path.stem
