"""Mixtures fitted to points or images (section 5 and appendix of the GMCN paper), and to points in any dimension."""

from gmcn.fitting.gmm import Adaptation, FitReport, MixtureEstimator, adapt, fit_gmm
from gmcn.fitting.images import fit_images
from gmcn.fitting.points import fit_points
from gmcn.fitting.settings import METHODS, FitSettings
from gmcn.fitting.stage import fit, reduce_mixtures

__all__ = [
    "METHODS",
    "Adaptation",
    "FitReport",
    "FitSettings",
    "MixtureEstimator",
    "adapt",
    "fit",
    "fit_gmm",
    "fit_images",
    "fit_points",
    "reduce_mixtures",
]
