"""The stage `download`: published files, from a mirror or from their address, verified and written whole."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

from gmcn.addresses import plain
from gmcn.artifacts import atomic, provenance, sha256, write_json
from gmcn.data.transfer import retrieve
from gmcn.errors import InputError, extras
from gmcn.tracking import NO_RUN, Run

MIRROR = "GMCN_MIRROR"
_LOG = logging.getLogger(__name__)


@extras()
def download(dataset: str, *, settings: dict[str, Any], output: str | os.PathLike, run: Run = NO_RUN) -> None:
    """Bring the data set's published files into the folder ``output``; built-in data sets have none.

    Each of ``settings["files"]`` is looked up as ``$GMCN_MIRROR/<folder>/<name>`` (a folder or a URL, whose query goes
    last; the entry's ``folder`` is by default the data set's name) and then at its ``url``. It must have one of the
    checksums in ``sha256`` (a string or a list of them), or ``md5``, or, uncompressed, ``content_md5``: a gzip wrapper
    may differ where the content does not. A file that is there already and verifies is kept. ``<name>.json`` beside a
    file says where it came from.

    Raises:
        InputError: a checksum that does not match, a truncated file, no place to take a file from. Of a broken transfer
            ``.<name>.part`` is left, with which the next one continues; else nothing of that file.
    """
    files = settings.get("files") or []
    if not files:
        return
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    total = 0
    try:
        for entry in files:
            path = output / entry["name"]
            origin = _bring(dataset, entry, path)
            total += path.stat().st_size
            _LOG.info("%s: %s bytes %s", path, f"{path.stat().st_size:,}", f"from {origin}" if origin else "were there")
            if origin is not None:
                record = {"origin": origin, "sha256": sha256(path), "provenance": provenance(), "run_id": run.id}
                write_json(path.with_name(f"{path.name}.json"), record)
    finally:
        # Only an empty folder goes: another job may have put its file there.
        with contextlib.suppress(OSError):
            output.rmdir()
    run.log_metrics({"download/bytes": total, "download/seconds": time.perf_counter() - started})


def verify(path: Path, entry: dict[str, Any], origin: str) -> None:
    """:class:`InputError` unless the file has the content that the configuration's entry promises."""
    if entry.get("content_md5"):
        kind, expected = "MD5 of the uncompressed content", [entry["content_md5"]]
        found = _content_md5(path, origin)
    elif entry.get("md5"):
        kind, expected = "MD5", [entry["md5"]]
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    else:
        kind, expected = "SHA-256", entry.get("sha256")
        expected = [expected] if isinstance(expected, str) else expected
        found = sha256(path)
    if not expected:
        text = "%s has no published checksum; this copy has sha256 %s: put it into the configuration"
        _LOG.warning(text, origin, found)
    elif found not in expected:
        raise InputError(
            f"{origin} is truncated or altered: its {kind} is {found}, expected {' or '.join(expected)}; "
            f"replace that file, or take it from another source by setting {MIRROR}"
        )


def _bring(dataset: str, entry: dict[str, Any], target: Path) -> str | None:
    """Put the verified file at ``target`` and return where it came from; None where it was there already."""
    if target.is_file():
        try:
            verify(target, entry, str(target))
            return None
        except InputError as error:
            _LOG.warning("%s; downloading it again", error)
    tried = []
    for origin in _origins(dataset, entry):
        if "://" not in origin:
            if Path(origin).is_file():
                with atomic(target) as temporary:
                    shutil.copyfile(origin, temporary)
                    verify(temporary, entry, origin)
                return origin
            tried.append(f"{origin} (does not exist)")
            continue
        known = any(entry.get(key) for key in ("sha256", "md5", "content_md5"))
        shown = plain(origin)
        problem = retrieve(origin, target, lambda path, shown=shown: verify(path, entry, shown), resume=known)
        if problem is None:
            return shown
        tried.append(f"{origin} ({problem})")
    where = f"tried {'; '.join(tried)}" if tried else "it has no published address and no mirror is set"
    raise InputError(
        f"cannot get {entry['name']} of data set '{dataset}': {where}; set {MIRROR} to a folder or URL that has "
        f"{_place(dataset, entry)}"
    )


def _place(dataset: str, entry: dict[str, Any]) -> str:
    """The place of the file in a mirror."""
    return f"{entry.get('folder', dataset)}/{entry['name']}"


def _origins(dataset: str, entry: dict[str, Any]) -> list[str]:
    """Paths and URLs to look at, in order."""
    origins = []
    mirror = os.environ.get(MIRROR, "").removeprefix("file://")
    if mirror:
        # A token stands behind the path, and folders may have question marks in their names.
        base, mark, query = mirror.partition("?") if "://" in mirror else (mirror, "", "")
        origins.append(f"{base.rstrip('/')}/{_place(dataset, entry)}{mark}{query}")
    if entry.get("url"):
        origins.append(entry["url"])
    return origins


def _content_md5(path: Path, origin: str) -> str:
    try:
        with gzip.open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{origin} is truncated or no gzip file ({error}); replace it, or take it from another source by "
            f"setting {MIRROR}"
        ) from error
