"""Input fitting: points or images become Gaussian mixtures (section 5 and appendix of the GMCN paper)."""

from gmcn.fitting.images import fit_images
from gmcn.fitting.points import fit_points
from gmcn.fitting.settings import METHODS, FitSettings
from gmcn.fitting.stage import fit, reduce_mixtures

__all__ = ["METHODS", "FitSettings", "fit", "fit_images", "fit_points", "reduce_mixtures"]
