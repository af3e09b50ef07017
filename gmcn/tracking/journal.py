"""The journal of a run, on disk before it is sent: nothing is lost if the store is away or the job is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gmcn.locks import lock

FOLDER = "unlogged"  # below the results


class Journal:
    """The records of one run, a JSON line each, in ``<results>/unlogged``; locked as long as its writer lives.

    The first record says which run it is. A folder of the same name beside it holds files that exist only to be
    logged. Raises ``OSError`` where the results cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        # Without a buffer: what a full disk has not taken would be written, and raise, once more when it is closed.
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115  (open as long as it is locked)
        if not lock(self._file):
            self._file.close()
            raise BlockingIOError(errno.EWOULDBLOCK, "another process writes or sends it", str(path))

    @classmethod
    def create(cls, results: Path, stage: str, first: dict[str, Any]) -> Journal:
        """A new one, named so that names sort by time."""
        folder = results / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls(folder / f"{time.time_ns()}-{stage}-{socket.gethostname()}-{os.getpid()}.jsonl")
        try:
            journal.append(first)
        except OSError:
            journal.remove()
            raise
        return journal

    @property
    def files(self) -> Path:
        """The folder of files that wait with it."""
        return self.path.with_suffix("")

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; it survives the process from here on."""
        line = f"\n{json.dumps(record)}\n".encode()  # first ends the half line of a killed writer, or a full disk
        if self._file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def records(self) -> list[dict[str, Any]]:
        """All of them; half a line, which a killed writer left, is none."""
        self._file.seek(0)
        found = []
        for line in self._file.read().decode("utf-8", "replace").split("\n"):
            with contextlib.suppress(ValueError, RecursionError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict) and len(record) == 1]

    def remove(self) -> None:
        """Everything is in the store."""
        shutil.rmtree(self.files, ignore_errors=True)
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> Path:
        """Keep a journal that we do not understand where nobody sends it."""
        return self.path.rename(self.path.with_suffix(".damaged"))

    def close(self) -> None:
        """Let others read it."""
        self._file.close()


def left_over(results: Path) -> Iterator[Journal]:
    """The journals of processes that have ended, the oldest first; each is closed after its turn."""
    for path in sorted((results / FOLDER).glob("*.jsonl")):
        try:
            journal = Journal(path)
        except OSError:  # its writer lives, or another process is sending it
            continue
        try:
            yield journal
        finally:
            journal.close()
