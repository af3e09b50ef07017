"""Lists all files below a folder, for the readers of data sets and for the inputs of the workflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

_LOG = logging.getLogger(__name__)


def walk(folder: str | os.PathLike, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Paths of all files, sorted within every folder, also behind links to folders and where a link leads nowhere.

    A link back to a folder that it lies in is not followed again.
    """
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        _LOG.warning("%s cannot be read and is left out (%s)", folder, error.strerror)
        return
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from walk(path, (*above, here))
        else:
            yield path
