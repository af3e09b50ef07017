"""Records which jobs and workflows run, by locks beside logs and in folders. A lock ends with its process."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from gmcn.errors import InputError
from gmcn.folders import walk
from gmcn.locks import lock

# A process that checks whether a job runs holds its lock for a moment.
_PATIENCE = 1.0
# Nanoseconds by which the clocks of a cluster's machines may differ.
_SKEW = 60_000_000_000
# No rule reads it, and it may be many files.
_MLFLOWS = ("mlartifacts", "unlogged")
_held: list[TextIO] = []


@contextlib.contextmanager
def claimed(log: Path | None) -> Iterator[None]:
    """Mark the job that writes ``log``, a file or a folder (None: no job), as running, for the block.

    Raises :class:`InputError` where another process still runs it, as one that outlived its workflow does.
    """
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    marker = _marker(log)
    with _locked(marker, log) as file:
        try:
            file.truncate(0)
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            json.dump({"host": platform.node(), "pid": os.getpid(), "since": now}, file)
            file.flush()
            yield
        finally:
            with contextlib.suppress(OSError):
                marker.unlink()


def running(log: Path) -> dict[str, Any] | None:
    """``host``, ``pid`` and ``since`` (ISO 8601) of the process that runs the job of ``log``; None if none does."""
    try:
        with open(_marker(log)) as file:
            if lock(file, fcntl.LOCK_SH):
                return None
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError:  # it is being written
        return {"host": None, "pid": None, "since": None}


def enter_workflow(folder: Path) -> bool:
    """Mark a workflow as running in ``folder`` (.snakemake) until this process ends; whether it is the only one.

    Snakemake's own locks stay where a workflow was killed, and would stop every later one; they are removed where no
    other workflow runs here. Locks of another machine are left alone: that it is at work may not be seen from here.
    """
    folder.mkdir(exist_ok=True)
    file = open(folder / "gmcn.running", "a+")  # noqa: SIM115  (held until the end)
    _held.append(file)
    if alone := lock(file):
        locks = list((folder / "locks").glob("*.lock"))
        file.seek(0)
        if not locks or set(file.read().split()) <= {platform.node()}:
            for left in locks:
                left.unlink(missing_ok=True)
            file.truncate(0)
    file.write(f"{platform.node()}\n")
    file.flush()
    # Not atomic: somebody who comes in between holds it for a moment. File systems without locks say so here.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH)
    return alone


def forget_future(folder: Path) -> None:
    """Reset modification times that lie in the future to now, keeping their order; those of MLflow's files stay.

    A wrong clock leaves such times, and Snakemake refuses an output that is older than its input.
    """
    now = time.time_ns()
    parts = [part for part in folder.iterdir() if part.name not in _MLFLOWS] if folder.is_dir() else []
    paths = (path for part in parts for path in (walk(part) if part.is_dir() else [str(part)]))
    ahead = sorted(entry for path in paths if (entry := (_modified(path), path))[0] > now + _SKEW)
    for back, (_, path) in enumerate(reversed(ahead)):
        with contextlib.suppress(OSError):  # of another user, or deleted meanwhile
            os.utime(path, ns=(now - back * 1_000_000,) * 2, follow_symlinks=False)


def _modified(path: str) -> int:
    """Its modification time, or 0 where it has vanished: another job may be at work."""
    try:
        return os.lstat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _locked(marker: Path, log: Path) -> Iterator[TextIO]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with open(marker, "a+") as file:
            free = lock(file)
            # Who held it before may have deleted it meanwhile.
            if free and marker.exists() and os.fstat(file.fileno()).st_ino == marker.stat().st_ino:
                yield file
                return
        if not free and time.monotonic() > deadline:
            who = running(log) or {"host": "?", "pid": "?", "since": "?"}
            raise InputError(
                f"the job of {log} still runs on {who['host']} (process {who['pid']}, since {who['since']}); "
                "wait for it or end it, then start again"
            )
        time.sleep(0.05)


def _marker(log: Path) -> Path:
    return log.with_name(f".{log.name}.running")
