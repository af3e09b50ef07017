"""Grey images in a zip or a folder of a user's own, one file each: <class>/<train|test>/<name>.png, .pgm or .npy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from gmcn.data.containers import contents, find_members, labelled
from gmcn.data.pictures import IMAGES, parse_image
from gmcn.data.samples import Row, Samples, attempt
from gmcn.errors import InputError


def read_folder(path: Path, class_names: Sequence[str] | None = None) -> Samples:
    """The images, float32 [H, W], see :func:`parse_image`; one of another size than the first is a bad object.

    Raises:
        InputError: no image in such a place, a damaged archive.
    """
    members, left_out = find_members(path, IMAGES)
    readable = (attempt(_parse, item) for item in contents(path, members))
    size = next((image["images"].shape for image in readable if not isinstance(image, InputError)), None)
    return Samples(
        **labelled(members, class_names),
        left_out=left_out,
        items=functools.partial(contents, path, members),
        load=functools.partial(_load, size),
    )


def _parse(item: tuple[str, str, bytes]) -> Row:
    _, source, content = item
    return {"images": parse_image(content, source)}


def _load(size: tuple[int, int], item: tuple[str, str, bytes]) -> Row:
    row = _parse(item)
    height, width = row["images"].shape
    if (height, width) != size:
        raise InputError(
            f"{item[1]} has {width} x {height} pixels, and the first image {size[1]} x {size[0]}; crop or scale it"
        )
    return row
