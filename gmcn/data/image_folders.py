"""Grey images in a zip or a folder of a user's own, one file each: <class>/<train|test>/<name>.png, .pgm or .npy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from gmcn.data.containers import contents, find_members, labelled
from gmcn.data.pictures import IMAGES, parse_image
from gmcn.data.samples import Row, Samples


def read_folder(path: Path, class_names: Sequence[str] | None = None) -> Samples:
    """The images, float32 [H, W], see :func:`parse_image`.

    Raises:
        InputError: no image in such a place, a damaged archive.
    """
    members, left_out = find_members(path, IMAGES)
    return Samples(
        **labelled(members, class_names),
        left_out=left_out,
        items=functools.partial(contents, path),
        load=_load,
    )


def _load(item: tuple[str, str, bytes]) -> Row:
    _, source, content = item
    return {"images": parse_image(content, source)}
