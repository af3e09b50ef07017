"""Whether the compiled kernels are those of the sources beside them. Needs no torch: the workflow asks too."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "csrc"


def digest(folder: Path = FOLDER) -> str:
    """The SHA-256 of all C++ and CUDA files below ``folder``, with their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
            whole.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()


def check_built() -> None:
    """Raise :class:`gmcn.errors.InputError` where the sources have changed since the kernels were built."""
    from gmcn.errors import InputError

    try:
        from gmcn import _inspect
    except ImportError:
        built = None
    else:
        built = getattr(_inspect, "sources", None)
    if FOLDER.is_dir() and built != digest():
        raise InputError(
            "the kernels are not those of csrc, which has changed since: build them with `make setup`, or "
            "`pip install --no-build-isolation -e .` in the checkout"
        )
