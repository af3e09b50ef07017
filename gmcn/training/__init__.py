"""Training with Lightning: the stage, its settings, and trained networks read back."""

from __future__ import annotations

import importlib

_HOMES = {
    "NonFiniteError": "errors",
    "OutOfMemoryError": "errors",
    "TrainingSettings": "settings",
    "resumable": "checkpoints",
    "train": "stage",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    # Lazy: reading a trained network must not pay for lightning.
    if name in _HOMES:
        return getattr(importlib.import_module(f"gmcn.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gmcn.training' has no attribute '{name}'")
