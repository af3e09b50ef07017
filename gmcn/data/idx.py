"""Images and labels in the IDX format of MNIST (http://yann.lecun.com/exdb/mnist), compressed or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.containers import MAX_MEMBER
from gmcn.data.image_folders import read_folder
from gmcn.data.samples import Samples, as_image
from gmcn.errors import InputError

# The four files of a data set in this format, by their published names.
_PARTS = ("train", "t10k")
_UNSIGNED_BYTE = 0x08


def read_idx(path: str | Path, dims: int) -> np.ndarray:
    """The array of unsigned bytes with ``dims`` dimensions that an IDX file (``.gz`` or plain) holds.

    Raises:
        InputError: not IDX, another type or number of dimensions, fewer or more bytes than the header says.
    """
    path = Path(path)
    again = "delete it and download it again"
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(MAX_MEMBER + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; download the data set first") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); {again}") from error
    if len(content) > MAX_MEMBER:
        raise InputError(f"{path} unpacks to more than {MAX_MEMBER:,} bytes; {again}")
    if len(content) < 4 or content[:2] != b"\0\0":
        raise InputError(f"{path} is not an IDX file: it starts with {content[:4].hex() or 'nothing'}; {again}")
    if content[2] != _UNSIGNED_BYTE or content[3] != dims:
        raise InputError(
            f"{path} holds type {content[2]:#04x} in {content[3]} dimensions, expected unsigned bytes "
            f"(0x08) in {dims}; are images and labels exchanged?"
        )
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(f"{path} ends inside its header; {again}")
    shape = struct.unpack(f">{dims}I", content[4:start])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - start != expected:
        raise InputError(
            f"{path} holds {len(content) - start} bytes, its header promises {expected} ({shape}); {again}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_images(settings: dict[str, Any], files: list[Path]) -> Samples:
    """Training then test images of the four files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz``.

    ``settings["class_names"]`` names the classes, by default by their numbers. With ``path`` they are a user's own
    (:func:`gmcn.data.image_folders.read_folder`).
    """
    if "path" in settings:
        return read_folder(files[0], settings.get("class_names"))
    images, labels = [], []
    for part in _PARTS:
        images.append(read_idx(_find(files, f"{part}-images-idx3-ubyte"), 3))
        labels.append(read_idx(_find(files, f"{part}-labels-idx1-ubyte"), 1))
        if len(images[-1]) != len(labels[-1]):
            raise InputError(f"the {part} files hold {len(images[-1])} images but {len(labels[-1])} labels")
    if images[0].shape[1:] != images[1].shape[1:]:
        raise InputError(f"training images are {images[0].shape[1:]}, test images {images[1].shape[1:]} pixels")
    counts = [len(part) for part in labels]
    classes = settings.get("class_names")
    if classes is None:
        classes = [str(label) for label in range(int(max(part.max(initial=0) for part in labels)) + 1)]
    return Samples(
        labels=np.concatenate(labels).astype(np.int64),
        split=np.repeat(np.arange(2, dtype=np.uint8), counts),
        names=[f"{part}-{i:05d}" for part, count in zip(_PARTS, counts, strict=True) for i in range(count)],
        class_names=list(classes),
        items=lambda: np.concatenate(images),
        load=as_image,
    )


def _find(files: list[Path], stem: str) -> Path:
    for path in files:
        if path.name in (stem, f"{stem}.gz"):
            return path
    raise InputError(f"a data set of images needs the file {stem}.gz; it has {[path.name for path in files]}")
