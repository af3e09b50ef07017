"""Files that stages exchange: written whole or not at all, read without pickle, with their provenance."""

from __future__ import annotations

import contextlib
import datetime
import functools
import glob
import hashlib
import json
import math
import os
import platform
import shlex
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gmcn.errors import InputError, brief
from gmcn.stages.paths import fields_of

# Whose versions an artifact names.
_PACKAGES = ("gmcn", "torch", "lightning", "numpy", "scikit-learn", "point-cloud-utils", "snakemake", "mlflow")


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends, and is deleted when it raises.

    The file is flushed to disk before it is renamed, so that ``path`` never holds half of anything, also after a
    full disk or a power cut. What a process that was killed left of it is deleted first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    # Of this machine alone: whether a process of another one lives cannot be seen.
    for left in path.parent.glob(f".{glob.escape(path.name)}.{_host()}.*.part"):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not Path("/proc", process).exists() and Path("/proc/self").exists():
            left.unlink(missing_ok=True)


def _host() -> str:
    return platform.node().partition(".")[0]


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` to ``path`` whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON. Not-a-number is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; :class:`InputError` names the file when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise absent(path) from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of thousands of digits, [[[[...
        raise damaged(path, error) from error


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write named tensors as safetensors; every metadata value is stored as a JSON string."""
    header = {key: json.dumps(value, allow_nan=False) for key, value in metadata.items()}
    # Not by save_file: it writes to a name of its own first, which a process that is killed leaves for ever.
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, header)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


class TensorWriter:
    """Writes safetensors row by row: tensors that are never in memory as a whole, their number of rows known last.

    Rows wait in nameless files beside ``path``, which vanish with the process; :meth:`finish` puts the header in
    front of them, since it needs the final shapes.
    """

    # The names of safetensors for what data sets are made of.
    _DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}  # noqa: RUF012

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, Any] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._rows: dict[str, int] = {}

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            # A full disk shows again when a buffer is flushed; the first error is the one to see.
            with contextlib.suppress(OSError):
                file.close()

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Add one row to each of the named tensors; all rows of a tensor have one shape and type."""
        for name, row in rows.items():
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115  (closed on exit)
                self._kinds[name] = (row.dtype, row.shape)
                self._rows[name] = 0
            if self._kinds[name] != (row.dtype, row.shape):
                raise InputError(f"a row of '{name}' is {row.dtype} {row.shape}, those before {self._kinds[name]}")
            self._files[name].write(np.ascontiguousarray(row).data)
            self._rows[name] += 1

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Put the file in its place, with metadata as in :func:`save_tensors`."""
        header: dict[str, Any] = {"__metadata__": {key: json.dumps(v, allow_nan=False) for key, v in metadata.items()}}
        end = 0
        # Wide types first, as safetensors does, so that every tensor is aligned.
        names = sorted(self._files, key=lambda name: (-self._kinds[name][0].itemsize, name))
        for name in names:
            (dtype, shape), rows = self._kinds[name], self._rows[name]
            begin, end = end, end + rows * math.prod(shape) * dtype.itemsize
            kind = self._DTYPES[dtype.name]
            header[name] = {"dtype": kind, "shape": [rows, *shape], "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with atomic(self._path) as temporary, open(temporary, "wb") as target:
            target.write(struct.pack("<Q", len(text)) + text)
            for name in names:
                self._files[name].seek(0)
                shutil.copyfileobj(self._files[name], target, 1 << 20)


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The metadata that :func:`save_tensors` stored, without reading the tensors."""
    with _opened(path) as (_, header):
        return header


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote: the tensors by name and the metadata."""
    with _opened(path) as (file, header):
        return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118  (not iterable)


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Open a file of :func:`save_tensors`: slices by name (``slices[key][10:20]`` reads a tensor) and the metadata."""
    with _opened(path) as (file, header):
        yield {key: file.get_slice(key) for key in file.keys()}, header  # noqa: SIM118


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Any, dict[str, Any]]]:
    if not Path(path).is_file():
        raise absent(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _header(path, file.metadata() or {})
    except SafetensorError as error:
        raise damaged(path, error) from error


def _header(path: str | os.PathLike, texts: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {key: json.loads(text) for key, text in texts.items()}
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def absent(path: str | os.PathLike) -> InputError:
    """The error for an artifact that is missing: the file, and the command that makes it."""
    return InputError(f"{path} does not exist; make it with `{_maker(path)}`")


def damaged(path: str | os.PathLike, error: Exception | str) -> InputError:
    """The error for an artifact that cannot be read: the file, and the command that makes it again."""
    reason = brief(error) if isinstance(error, Exception) else error
    remake = f"rm {shlex.quote(str(path))} && {_maker(path)}"
    return InputError(f"{path} is damaged ({reason}); make it again with `{remake}`")


def _maker(path: str | os.PathLike) -> str:
    """The command that makes an artifact, also below another folder of results than that of the configuration."""
    command = f"snakemake --cores all {shlex.quote(str(path))}"
    for results in reversed(Path(path).parents):
        if fields_of(Path(path).relative_to(results)) is not None:
            return command if str(results) == "results" else f"{command} --config results={shlex.quote(str(results))}"
    return command


T = TypeVar("T")


def of_content(function: Callable[[str | os.PathLike], T]) -> Callable[[str | os.PathLike], T]:
    """``function`` of a file, which is asked once as long as the file stays as it is."""

    @functools.lru_cache(maxsize=1024)
    def remembered(path: str, *_: int) -> T:
        return function(path)

    @functools.wraps(function)
    def of_path(path: str | os.PathLike) -> T:
        status = os.stat(path)
        return remembered(os.path.realpath(path), status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

    return of_path


@of_content
def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@of_content
def sha256_of_tensors(path: str | os.PathLike) -> str:
    """The same of the tensors of a file of :func:`save_tensors` alone, whenever and wherever they were written."""
    with open(path, "rb") as file:
        (header,) = struct.unpack("<Q", file.read(8))
        file.seek(8 + header)
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*values: Any) -> str:
    """A short stable key of JSON values: equal settings give equal keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """The machine, the time and the code with which an artifact was made."""
    return {**_static_provenance(), "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


@functools.cache
def _static_provenance() -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "commit": git_commit(),
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def git_commit() -> str | None:
    """The commit of the source tree, with ``-dirty`` where tracked files differ; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():  # git would look above, where an installed package finds somebody else's
        return None
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
