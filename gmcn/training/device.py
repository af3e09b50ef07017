"""Choosing the device a stage runs on."""

from __future__ import annotations

import torch

from gmcn.errors import InputError, unknown


def select_device(name: str) -> torch.device:
    """``auto`` (the GPU where there is one), ``cpu`` or ``cuda`` as a device."""
    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
