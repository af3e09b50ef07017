"""Deep learning on Gaussian mixtures."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["GaussianMixture", "Mixture", "MixtureTree", "info", "load", "ops", "predict"]


def __getattr__(name: str):
    # Lazy: `gmcn --help` must not pay for torch, nor gmcn.ops for lightning.
    if name in ("Mixture", "GaussianMixture", "MixtureTree"):
        from gmcn import mixture

        return getattr(mixture, name)
    if name == "load":
        from gmcn.models.loading import load

        return load
    if name == "predict":
        from gmcn.inference import predict

        return predict
    if name == "info":
        from gmcn.build_info import info

        return info
    if name in ("mixture", "ops", "nn", "models", "fitting", "data", "training", "results", "inference"):
        import importlib

        return importlib.import_module(f"gmcn.{name}")
    raise AttributeError(f"module 'gmcn' has no attribute '{name}'")
