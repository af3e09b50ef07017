"""CIFAR-10 and CIFAR-100 in their binary version (https://www.cs.toronto.edu/~kriz/cifar.html), which holds no pickle.

A record is the label, of CIFAR-100 that of the coarse class and then that of the fine one, one byte each, and the 3,072
bytes of a picture: 32 x 32 pixels in rows, all of red, then of green, then of blue.
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from gmcn.data.containers import MAX_MEMBER
from gmcn.data.kinds import Cifar, told
from gmcn.data.samples import PARTS, Row, Samples
from gmcn.errors import InputError, brief

SHAPE = (3, 32, 32)  # channels, rows, columns
_PIXELS = 3 * 32 * 32
_AGAIN = "delete it and download it again"


class Layout(NamedTuple):
    """The names of the files within an archive; ``classes`` has one file for each byte of label."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    classes: dict[str, str]


LAYOUTS = (
    Layout(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",), {"fine": "batches.meta.txt"}
    ),
    Layout(("train.bin",), ("test.bin",), {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"}),
)


def read_cifar(settings: dict[str, Any], files: list[Path]) -> Samples:
    """Training then test pictures of the archive, each a vector [3072]; ``settings`` are those of :class:`Cifar`.

    Raises :class:`InputError` for an archive that is damaged, lacks a file, or holds less than whole records.
    """
    if len(files) != 1:
        raise InputError(f"a data set of the kind cifar is one archive; it has {[path.name for path in files]}")
    [path] = files
    found = _unpacked(path)
    layout = next((layout for layout in LAYOUTS if layout.train[0] in found), LAYOUTS[0])
    classes = list(layout.classes)
    if (wanted := told(Cifar, settings).labels) not in classes:
        raise InputError(f"{path} has {' and '.join(classes)} labels alone; leave `labels: {wanted}` out")
    missing = [name for name in (*layout.train, *layout.test, layout.classes[wanted]) if name not in found]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)} of CIFAR's binary version; {_AGAIN}")
    parts = [
        np.concatenate([_records(found[name], len(classes), f"{path}:{name}") for name in names])
        for names in (layout.train, layout.test)
    ]
    records = np.concatenate(parts)
    names = found[layout.classes[wanted]].decode(errors="replace").split()
    return Samples(
        labels=records[:, classes.index(wanted)].astype(np.int64),
        split=np.repeat(np.arange(2, dtype=np.uint8), [len(part) for part in parts]),
        names=[f"{part}-{i:05d}" for part, of in zip(PARTS, parts, strict=True) for i in range(len(of))],
        class_names=names,
        items=lambda: records[:, len(classes) :],
        load=_as_vector,
        about={"picture": list(SHAPE)},
    )


def _as_vector(item: np.ndarray) -> Row:
    return {"vectors": item}


def _records(content: bytes, labels: int, source: str) -> np.ndarray:  # [R, labels + 3072] uint8
    size = labels + _PIXELS
    if not content or len(content) % size:
        raise InputError(
            f"{source} is truncated or of another format: {len(content):,} bytes are no whole records of {size:,}; "
            f"{_AGAIN}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, size)


def _unpacked(path: Path) -> dict[str, bytes]:
    """By name, the files of a .tar.gz that a layout names, wherever they lie in it."""
    known = {name for layout in LAYOUTS for name in (*layout.train, *layout.test, *layout.classes.values())}
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name not in known or not member.isfile():
                    continue
                if member.size > MAX_MEMBER:
                    raise InputError(f"{path}:{name} would unpack to {member.size:,} bytes; {_AGAIN}")
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path} is truncated or no .tar.gz ({brief(error)}); {_AGAIN}") from error
    return found
