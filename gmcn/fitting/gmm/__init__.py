"""Gaussian mixtures of points in any dimension, by EM, stochastic gradients or k-means."""

from gmcn.fitting.gmm.estimator import MixtureEstimator, fit_gmm
from gmcn.fitting.gmm.report import FitReport

__all__ = ["FitReport", "MixtureEstimator", "fit_gmm"]
