"""Deep learning on Gaussian mixtures."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"
_HOMES = {
    "GaussianMixture": "mixture",
    "Mixture": "mixture",
    "MixtureTree": "mixture",
    "complete": "inference",
    "generate": "inference",
    "info": "build_info",
    "load": "models.loading",
    "overlap": "mixture",
    "predict": "inference",
    "register": "inference",
}
_PACKAGES = ("mixture", "ops", "nn", "optim", "registration", "models", "fitting", "data")
_PACKAGES += ("training", "results", "inference")
__all__ = sorted((*_HOMES, "ops"))


def __getattr__(name: str):
    # Lazy: `gmcn --help` must not pay for torch, nor gmcn.ops for lightning.
    if name in _HOMES:
        return getattr(importlib.import_module(f"gmcn.{_HOMES[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"gmcn.{name}")
    raise AttributeError(f"module 'gmcn' has no attribute '{name}'")
