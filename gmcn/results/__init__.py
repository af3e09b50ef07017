"""Measures trained networks and their rivals: accuracy, fitting errors, memory, and the result that gathers them."""

from __future__ import annotations

import importlib

_HOMES = {
    "compare": "rivals",
    "dynamics": "dynamics_stage",
    "evaluate": "evaluation",
    "footprint": "footprint_stage",
    "probe": "probing",
    "samples": "samples_stage",
    "summarise": "summary",
    "tabulate": "tables",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"gmcn.results.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gmcn.results' has no attribute '{name}'")
