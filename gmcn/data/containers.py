"""Objects in a zip or a folder, laid out as ModelNet is: <class>/<train|test>/<name>.<ext>. Nothing is unpacked."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.artifacts import sha256
from gmcn.data.samples import PARTS
from gmcn.errors import InputError

_LOG = logging.getLogger(__name__)
# A member that unpacks to more, or to so many times its size beyond a few MB, was made to fill a memory or a disk:
# text of numbers is compressed to a third or a tenth.
MAX_MEMBER = 1 << 30
MAX_RATIO, RATIO_FROM = 1000, 10 << 20

# What zipfile raises for an archive that is cut short, altered, encrypted or compressed in a way it does not know.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)


@dataclass(frozen=True, order=True)
class Member:
    """One object: its class, part of the split and name, and the file's name within the container."""

    class_name: str
    part: str
    name: str
    file: str

    @property
    def key(self) -> str:
        """What the object is called wherever it is stored, and what its random numbers depend on."""
        return f"{self.class_name}/{self.part}/{self.name}"


def list_files(container: Path) -> list[str]:
    """Names of all files in a zip or below a folder, sorted; hidden ones and macOS's shadow copies are left out."""
    if container.is_dir():
        found = [
            Path(folder, file).relative_to(container).as_posix()
            for folder, _, files in os.walk(container, followlinks=True)
            for file in files
        ]
    else:
        with _open(container) as archive:
            found = [info.filename for info in archive.infolist() if not info.is_dir()]
    parts = {name: PurePosixPath(name).parts for name in found}
    return sorted(
        name for name in parts if parts[name] and "__MACOSX" not in parts[name] and not parts[name][-1].startswith(".")
    )


def find_members(container: Path, suffixes: Sequence[str]) -> list[Member]:
    """The objects of a zip or folder, sorted by class, part and name.

    Raises :class:`InputError` when there are none; files of other formats are counted in a warning.
    """
    found, others = [], []
    for file in list_files(container):
        path = PurePosixPath(file)
        if len(path.parts) < 3 or path.parts[-2] not in PARTS:
            continue
        if path.suffix.lower() in suffixes:
            found.append(Member(path.parts[-3], path.parts[-2], path.stem, file))
        else:
            others.append(file)
    if not found:
        first, *more = suffixes
        raise InputError(
            f"{container} holds no <class>/<train|test>/<name>{first} (or {', '.join(more)}); name them so"
        )
    if others:
        _LOG.warning("%s: %d files of another format are left out (%s ...)", container, len(others), others[0])
    return sorted(found)


def labelled(members: Sequence[Member], class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Labels, split, names and class names of a :class:`gmcn.data.samples.Samples`."""
    classes = list(class_names or sorted({member.class_name for member in members}))
    index = {name: label for label, name in enumerate(classes)}
    unknown = [member for member in members if member.class_name not in index]
    if unknown:
        raise InputError(f"'{unknown[0].name}' is of class '{unknown[0].class_name}', which is not among {classes}")
    return {
        "labels": np.array([index[member.class_name] for member in members], dtype=np.int64),
        "split": np.array([PARTS.index(member.part) for member in members], dtype=np.uint8),
        "names": [member.name for member in members],
        "class_names": classes,
    }


def contents(container: Path, members: Sequence[Member]) -> Iterator[tuple[str, str, bytes] | InputError]:
    """(key, place for errors, content) of every object, or why it cannot be read."""
    if container.is_dir():
        for member in members:
            path = container / member.file
            try:
                yield member.key, str(path), path.read_bytes()
            except OSError as error:
                yield InputError(f"{path} cannot be read ({error.strerror})")
        return
    with _open(container) as archive:
        for member in members:
            source = f"{container}:{member.file}"
            try:
                yield member.key, source, read_member(archive, member.file, source)
            except InputError as error:
                yield error


def read_member(archive: zipfile.ZipFile, name: str, source: str) -> bytes:
    """The content of a zip's member. :class:`InputError`: not there, damaged, or far larger than it may be."""
    try:
        info = archive.getinfo(name)
        ratio = info.file_size / max(1, info.compress_size)
        if info.file_size > MAX_MEMBER or (info.file_size > RATIO_FROM and ratio > MAX_RATIO):
            raise InputError(
                f"{source} would unpack to {info.file_size:,} bytes, {ratio:.0f} times its size; remove it"
            )
        with archive.open(info) as file:
            # Not more than was promised is ever unpacked, whatever the compressed data would give.
            content = file.read(info.file_size + 1)
        if len(content) != info.file_size:
            raise InputError(f"{source} is truncated: {len(content):,} of {info.file_size:,} bytes")
        return content
    except KeyError:
        raise InputError(f"{source} is not in the archive") from None
    except DAMAGE as error:
        raise InputError(f"{source} is truncated or damaged ({error})") from error


def digest(container: Path) -> str:
    """SHA-256 of a file; of a folder that of the names and contents of all its files."""
    if not container.is_dir():
        return sha256(container)
    total = hashlib.sha256()
    for name in list_files(container):
        total.update(f"{name}\0{sha256(container / name)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _open(container: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(container)
    except DAMAGE as error:
        raise InputError(f"{container} is truncated or damaged ({error}); delete it and download it again") from error
