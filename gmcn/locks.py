"""Locks on open files, which end with their process."""

from __future__ import annotations

import errno
import fcntl
from typing import IO


def lock(file: IO, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to take a lock of ``kind`` without waiting; True if it worked, and on file systems without locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
