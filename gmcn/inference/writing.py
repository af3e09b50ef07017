"""Writes what was generated: one picture, a file for each sample, or all samples as an array."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmcn.artifacts import atomic, provenance, save_tensors
from gmcn.data.objects import IMAGES, POINTS, TRAIN, VECTORS
from gmcn.data.pictures import MAX_PIXELS
from gmcn.errors import InputError
from gmcn.inference.files import check_format, is_folder, plain_name
from gmcn.inference.generating import Generated
from gmcn.pictures import clouds
from gmcn.pictures.charts import draw_grid, save_png
from gmcn.pictures.drawing import height_colours

FORMATS = (".png", ".npy", ".safetensors", ".ply", ".html")
CLOUDS = (".ply", ".html")  # which only clouds are written to
MAX_CLOUDS = 400  # in a picture
FINE = 8  # a picture has whole numbers, too few up to a smaller value


def check_output(path: str) -> None:
    """:class:`InputError` for a name that says no known format."""
    if not is_folder(path):
        check_format(path, FORMATS, ", or in / for a folder of files")


def write(path: str, found: Generated, about: Mapping[str, Any]) -> None:
    """Write all samples to ``path``, as its name says; a .safetensors says ``about`` too how they were made.

    A picture shows each object that samples are like before them. A folder has a .png for each sample, in the units of
    the data and clipped to them, or a .npy where these are too fine or too large for its whole numbers. Arrays are not
    clipped. Clouds have a .ply each in a folder; a .ply, an .html page to turn and a picture have all of them side by
    side.

    Raises :class:`InputError` for vectors, of which there are no pictures, and for more images than a picture holds.
    """
    check_output(path)
    suffix, samples = Path(path).suffix.lower(), found.samples.numpy()
    is_clouds = found.is_clouds
    if suffix in CLOUDS and not is_clouds:
        raise InputError(f"cannot write {path}: only clouds are written to {' and '.join(CLOUDS)}")
    if is_clouds and suffix not in (".npy", ".safetensors"):
        _clouds(path, found)
    elif is_folder(path):
        _separate(Path(path), found)
    elif suffix == ".png":
        _together(Path(path), found)
    elif suffix == ".npy":
        save_array(samples, Path(path))
    else:
        kind = POINTS if is_clouds else IMAGES if samples.ndim == 3 else VECTORS
        tensors = {kind: found.samples, "split": torch.full((len(samples),), TRAIN, dtype=torch.uint8)}
        metadata = {"dataset": "generated", "names": names(found), "settings": dict(found.data)}
        metadata |= {"generated": dict(about), "provenance": provenance()}
        save_tensors(path, tensors, metadata)


def names(found: Generated) -> list[str]:
    """A name for each sample: its number, and the object that it is like."""
    count, each = len(found.samples), len(found.samples) // max(1, len(found.names))
    digits, likes = len(str(count - 1)), [plain_name(name) for name in found.names]
    return [f"{index:0{digits}d}_{likes[index // each] if likes else 'sample'}" for index in range(count)]


def _clouds(path: str, found: Generated) -> None:
    samples = found.samples.numpy()
    if is_folder(path):
        for name, cloud in zip(names(found), samples, strict=True):
            save_ply(cloud, Path(path) / f"{name}.ply")
        return
    if len(samples) > MAX_CLOUDS:
        raise InputError(f"{len(samples):,} clouds are too many for one picture; write a folder, .npy or .safetensors")
    if Path(path).suffix.lower() == ".ply":
        shades = np.concatenate([height_colours(cloud) for cloud in samples])
        save_ply(np.concatenate(clouds.spread(list(samples))), Path(path), shades)
    else:
        clouds.draw_clouds(list(samples), Path(path))


def save_ply(points: np.ndarray, path: Path, colours: np.ndarray | None = None) -> None:  # [M, 3], [M, 3] in [0, 1]
    """A binary .ply of points, as precise as they are, with colours where there are any."""
    number = ("double", "<f8") if points.dtype == np.float64 else ("float", "<f4")
    fields, values = [(axis, *number) for axis in "xyz"], list(points.T)
    if colours is not None:
        fields += [(name, "uchar", "u1") for name in ("red", "green", "blue")]
        values += list((255 * colours).round().T)
    rows = np.rec.fromarrays(values, dtype=[(name, kind) for name, _, kind in fields])
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property {word} {name}\n" for name, word, _ in fields) + "end_header\n"
    with atomic(path) as temporary:
        temporary.write_bytes(header.encode() + rows.tobytes())


def save_array(values: np.ndarray, path: Path) -> None:
    """Write a .npy."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, values)


def _separate(folder: Path, found: Generated) -> None:
    _check_images(folder, found)
    whole = FINE <= found.largest <= np.iinfo(np.uint16).max
    kind = np.uint8 if found.largest <= 255 else np.uint16
    for name, image in zip(names(found), found.samples.numpy(), strict=True):
        if whole:
            save_png(image.clip(0, found.largest).round().astype(kind), folder / f"{name}.png")
        else:
            save_array(image, folder / f"{name}.npy")


def _together(path: Path, found: Generated) -> None:
    _check_images(path, found)
    images, columns = found.samples.numpy(), None
    if found.objects is not None:
        own = images.reshape(len(found.objects), -1, *images.shape[1:])
        images = np.concatenate([found.objects.numpy()[:, None], own], 1)
        columns = images.shape[1] * max(1, round(math.sqrt(len(images) / images.shape[1])))
        images = images.reshape(-1, *images.shape[2:])
    if images.size > MAX_PIXELS:
        raise InputError(f"{len(images):,} images are too many for one picture; write a folder, .npy or .safetensors")
    draw_grid(images, found.largest, path, columns)


def _check_images(path: Path, found: Generated) -> None:
    if found.samples.ndim != 3:
        raise InputError(f"cannot write {path}: vectors have no pictures; write .npy or .safetensors")
