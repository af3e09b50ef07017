"""Objects in a zip or a folder, laid out as ModelNet is: <class>/<train|test>/<name>.<ext>. Nothing is unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gmcn.artifacts import sha256
from gmcn.data.conversion import hint
from gmcn.data.samples import PARTS
from gmcn.errors import InputError, brief
from gmcn.folders import walk

_LOG = logging.getLogger(__name__)
# A member that unpacks to more, or to so many times its size beyond a few MB, was made to fill a memory or a disk:
# text of numbers is compressed to a third or a tenth.
MAX_MEMBER = 1 << 30
MAX_RATIO, RATIO_FROM = 1000, 10 << 20
MAX_RATIO_OF_LARGE = 100  # where a member may be larger than that

# What zipfile raises for an archive that is cut short, altered, encrypted or compressed in a way it does not know.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, NotImplementedError, OSError, UnicodeDecodeError),
)


@dataclass(frozen=True, order=True)
class Member:
    """One object: its class, part of the split and name, and the file's name within the container."""

    class_name: str
    part: str
    name: str
    file: str

    @property
    def key(self) -> str:
        """The name of the object in every container; its random numbers depend on it."""
        return f"{self.class_name}/{self.part}/{self.name}"


def placed(file: str) -> Member | None:
    """The object that lies at .../<class>/<train|test>/<name>.<ext>; None for a file anywhere else."""
    path = PurePosixPath(file)
    if len(path.parts) > 2 and path.parts[-2] in PARTS:
        return Member(path.parts[-3], path.parts[-2], path.stem, file)
    return None


def list_files(container: Path) -> list[str]:
    """Names of all files in a zip or below a folder, sorted; what is hidden and macOS's shadow copies are left out."""
    if container.is_dir():
        found = [Path(file).relative_to(container).as_posix() for file in walk(container)]
    else:
        with open_zip(container) as archive:
            found = [name for name in archive.namelist() if name and not name.endswith("/")]
    parts = {name: PurePosixPath(name).parts for name in found}
    return sorted(name for name in parts if parts[name] and not any(map(_is_hidden, parts[name])))


def _is_hidden(part: str) -> bool:
    return part == "__MACOSX" or (part.startswith(".") and part != "..")


def find_members(container: Path, suffixes: Sequence[str]) -> tuple[list[Member], list[str]]:
    """The objects of a zip or folder, sorted by class, part and name, and files that are none only by their place.

    Raises :class:`InputError` when there are no objects; files of other formats, or outside of
    <class>/<train|test>/, are counted in warnings.
    """
    found, others, outside = [], [], []
    for file in list_files(container):
        member, known = placed(file), PurePosixPath(file).suffix.lower() in suffixes
        if member and known:
            found.append(member)
        elif member:
            others.append(file)
        elif known:
            outside.append(file)
    if not found:
        first, *more = suffixes
        raise InputError(
            f"{container} holds no <class>/<train|test>/<name>{first} (or {', '.join(more)}); name them so"
            + (hint(others[0]) if others else "")
        )
    if others:
        text = "%s: %d files of another format are left out (%s ...)%s"
        _LOG.warning(text, container, len(others), others[0], hint(others[0]))
    if outside:
        text = "%s: %d files do not lie in <class>/<train|test>/ and are left out (%s ...)"
        _LOG.warning(text, container, len(outside), outside[0])
    return distinct(container, found), outside


def distinct(container: Path, members: Sequence[Member]) -> list[Member]:
    """The objects, sorted; those of one name in one place (cup.npy, cup.ply) get their suffix, or their whole path."""
    for rename in (lambda path: path.name, str):
        times = Counter(member.key for member in members)
        repeated = [member.file for member in members if times[member.key] > 1]
        if repeated:
            text = "%s: %d objects share their name with another and are called by more of their path (%s ...)"
            _LOG.warning(text, container, len(repeated), min(repeated))
        members = [
            replace(member, name=rename(PurePosixPath(member.file))) if times[member.key] > 1 else member
            for member in members
        ]
    return sorted(members)


def labelled(members: Sequence[Member], class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Labels, split, names, class names and members of a :class:`gmcn.data.samples.Samples`."""
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
        "members": members,
    }


def contents(container: Path, members: Sequence[Member]) -> Iterator[tuple[str, str, bytes] | InputError]:
    """(key, place for errors, content) of every object, or why it cannot be read."""
    with contextlib.nullcontext() if container.is_dir() else open_zip(container) as archive:
        for member in members:
            path = container / member.file
            source = f"{container}:{member.file}" if archive else str(path)
            try:
                content = read_member(archive, member.file, source) if archive else content_of(path)
                yield member.key, source, content
            except InputError as error:
                yield error


def heads(container: Path, members: Sequence[Member], length: int) -> Iterator[tuple[bytes, int]]:
    """The first ``length`` bytes of every object's file, and the size of it all; nothing of one that is unreadable."""
    with contextlib.nullcontext() if container.is_dir() else open_zip(container) as archive:
        for member in members:
            try:
                path = container / member.file
                with archive.open(member.file) if archive else open(path, "rb") as file:
                    head = file.read(length)
                yield head, archive.getinfo(member.file).file_size if archive else path.stat().st_size
            except (KeyError, *DAMAGE):
                yield b"", 0


def content_of(path: Path) -> bytes:
    """All of a file; :class:`InputError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def read_member(archive: zipfile.ZipFile, name: str, source: str, *, any_size: bool = False) -> bytes:
    """The content of a zip's member. :class:`InputError`: not there, damaged, or far larger than it may be.

    With ``any_size`` it may be as large as it likes, if it is stored in not much less.
    """
    try:
        info = archive.getinfo(name)
        ratio = info.file_size / max(1, info.compress_size)
        too_large = info.file_size > MAX_MEMBER and not (any_size and ratio <= MAX_RATIO_OF_LARGE)
        if too_large or (info.file_size > RATIO_FROM and ratio > MAX_RATIO):
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
        raise InputError(f"{source} is truncated or damaged ({brief(error)})") from error


def digest(container: Path) -> str:
    """SHA-256 of a file; of a folder that of the names and contents of all its files that can be read."""
    if not container.is_dir():
        return sha256(container)
    total = hashlib.sha256()
    for name in list_files(container):
        try:
            content = sha256(container / name)
        except OSError:
            content = "unreadable"
        total.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip (or .npz), open; Windows' separators are those of all others. :class:`InputError`: it is none."""
    try:
        archive = zipfile.ZipFile(path)
        if not any("/" in info.filename for info in archive.filelist):
            for info in archive.filelist:
                info.filename = info.filename.replace("\\", "/")
            archive.NameToInfo = {info.filename: info for info in archive.filelist}
        return archive
    except DAMAGE as error:
        if path.suffix.lower() not in (".zip", ".npz"):
            raise InputError(
                f"{path} is neither a folder nor a zip; name the folder that the objects lie in"
            ) from error
        advice = "replace it (a published file: delete it, and it is downloaded again)"
        raise InputError(f"{path} is truncated or damaged ({brief(error)}); {advice}") from error
