"""One file over HTTP: with a progress bar, tried again after what may pass, continued where it was interrupted."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from gmcn.addresses import plain
from gmcn.errors import InputError
from gmcn.locks import lock
from gmcn.progress import Progress

# Tries after the first one, with a pause of 1, 2, 4, ... seconds in between.
RETRIES = 4
PAUSE = 1.0
_TIMEOUT = 60
_PIECE = 1 << 20
# The server asks for patience. Every other answer of 400 to 499 would be the same again.
_PATIENCE = (408, 425, 429)
_LOG = logging.getLogger(__name__)


def retrieve(url: str, target: Path, check: Callable[[Path], None], *, resume: bool) -> str | None:
    """Download ``url``, and rename it to ``target`` once it passes ``check``; the reason in words if it cannot be had.

    What has arrived stays in ``.<name>.part`` when the transfer breaks, and only the rest is asked for by the next
    try: also by the next call if ``resume``, which takes a check that would notice that the file has changed
    meanwhile; else while the server says that it has not. A whole file that fails the check is deleted and taken
    anew; the last time its :class:`InputError` is raised. While another process downloads to ``target``, it is waited
    for, and what it has brought is taken if it passes the check.
    """
    import requests
    from urllib3.exceptions import HTTPError

    with _alone(target) as waited, requests.Session() as session:
        if waited and target.is_file():
            with contextlib.suppress(InputError):
                check(target)
                return None
        transfer = _Transfer(session, url, target.with_name(f".{target.name}.part"), resume)
        problem = ""
        for attempt in range(RETRIES + 1):
            if attempt:
                _LOG.warning("%s: try %d of %d failed (%s)", plain(url), attempt, RETRIES + 1, problem)
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                transfer.run()
                check(transfer.part)
            except _RefusedError as error:
                return str(error)
            except InputError as error:
                transfer.part.unlink(missing_ok=True)
                if attempt == RETRIES:
                    raise
                problem = str(error)
            except (requests.RequestException, HTTPError, ConnectionError) as error:
                problem = plain(f"{type(error).__name__.strip('_')}: {_innermost(error)}")
            else:
                with open(transfer.part, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(transfer.part, target)
                return None
    return f"{problem}, after {RETRIES + 1} tries"


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """Wait until no other process downloads to ``target``, and keep others from it; True if one was waited for.

    The lock is on a file beside it, which is there only meanwhile.
    """
    path, waited = target.with_name(f".{target.name}.lock"), False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            # Who had it before has deleted it, and others lock another file of this name.
            if lock(file) and path.is_file() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                try:
                    yield waited
                finally:
                    path.unlink(missing_ok=True)
                return
        if not waited:
            _LOG.info("%s: another process downloads it; waiting", target)
        waited = True
        time.sleep(PAUSE)


def _innermost(error: Any) -> Any:
    """The original error: requests wraps it into messages of two more libraries."""
    inner = getattr(error, "reason", None) or next(iter(getattr(error, "args", ())), None)
    return _innermost(inner) if isinstance(inner, Exception) else error


@dataclass
class _Transfer:
    """The tries to get one file."""

    session: Any  # requests.Session
    url: str
    part: Path
    resume: bool
    version: str | None = None  # what the server calls the content that ``part`` has the beginning of

    def run(self) -> None:
        """Ask for what ``part`` lacks, and append it; all of it where the server does not give ranges."""
        there = self.part.stat().st_size if self.part.is_file() and (self.resume or self.version) else 0
        # Of compressed files the bytes as they are, and ranges of these.
        headers = {"Accept-Encoding": "identity"}
        if there:
            headers["Range"] = f"bytes={there}-"
        if there and self.version:
            headers["If-Range"] = self.version
        with self.session.get(self.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            place = answer.headers.get("Content-Range", "")
            if answer.status_code == 416 and place == f"bytes */{there}":
                return  # nothing is missing
            if answer.status_code == 416 or (answer.status_code == 206 and not place.startswith(f"bytes {there}-")):
                self.part.unlink()
                raise ConnectionError(f"the server has no bytes from {there:,} on")
            if answer.status_code in _PATIENCE or answer.status_code >= 500:
                raise ConnectionError(f"{answer.status_code} {answer.reason}")
            if answer.status_code not in (200, 206):
                raise _RefusedError(f"{answer.status_code} {answer.reason}")
            # A weak tag does not promise the same bytes.
            tag = re.fullmatch('".*"', answer.headers.get("ETag", ""))
            self.version = tag[0] if tag else answer.headers.get("Last-Modified")
            self._receive(answer, there if answer.status_code == 206 else 0)

    def _receive(self, answer: Any, there: int) -> None:
        length = answer.headers.get("Content-Length", "")
        total = there + int(length) if length.isdigit() else None
        with Progress(transfer=True) as bar, open(self.part, "ab" if there else "wb") as file:
            task = bar.add_task(PurePosixPath(urlsplit(self.url).path).name, total=total, completed=there)
            for piece in answer.raw.stream(_PIECE, decode_content=False):
                file.write(piece)
                bar.advance(task, len(piece))
            if total is not None and file.tell() != total:
                raise ConnectionError(f"the transfer ended after {file.tell():,} of {total:,} bytes")


class _RefusedError(Exception):
    """The server has no such file, or does not give it away: asking again would get the same answer."""
