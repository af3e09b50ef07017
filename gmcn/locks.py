"""Locks on open files, which end with their process."""

from __future__ import annotations

import errno
import fcntl
from typing import IO


def lock(file: IO, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether a lock of ``kind`` could be had at once; True on file systems that have none."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
