"""Networks on Gaussian mixtures; one file, one network."""

from gmcn.models.gmcn import GMCN

__all__ = ["GMCN"]
