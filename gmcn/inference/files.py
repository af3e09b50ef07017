"""Names of the files that commands write for users."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gmcn.errors import InputError


def is_folder(path: str) -> bool:
    """Whether a path means a folder, for a file of each object: it ends in / or is one already."""
    return path.endswith(("/", os.sep)) or Path(path).is_dir()


def plain_name(name: str) -> str:
    """The name of an object as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)


def check_format(path: str | os.PathLike, formats: Sequence[str], others: str = "") -> None:
    """:class:`InputError` for a name that ends in none of the ``formats``; ``others`` says what else it may be."""
    if Path(path).suffix.lower() not in formats:
        raise InputError(f"cannot write {path}: its name must end in one of {', '.join(formats)}{others}")
