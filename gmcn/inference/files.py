"""Names of the files that commands write for users."""

from __future__ import annotations

import os
import re
from pathlib import Path


def is_folder(path: str) -> bool:
    """Whether a path means a folder, for a file of each object: it ends in / or is one already."""
    return path.endswith(("/", os.sep)) or Path(path).is_dir()


def plain_name(name: str) -> str:
    """The name of an object as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)
