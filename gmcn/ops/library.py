"""Loads the compiled operations and tells torch about shapes; imported before anything calls ``torch.ops.gmcn``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_FOLDER = Path(__file__).resolve().parent.parent


def _load(name: str) -> bool:
    path = next(iter(_FOLDER.glob(f"{name}.*so")), None)
    if path is not None:
        torch.ops.load_library(str(path))
    return path is not None


if not _load("_kernels"):
    raise ImportError(
        "gmcn's kernels are not built; run `make setup`, or `pip install --no-build-isolation -e .` in the checkout"
    )
# A library of its own: it needs symbols that only a CUDA build of torch has.
if torch.version.cuda is not None:
    _load("_kernels_cuda")


def fake(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the shapes that ``gmcn::<name>`` returns, for torch.compile and export."""
    return torch.library.register_fake(f"gmcn::{name}")
