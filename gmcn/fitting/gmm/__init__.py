"""Gaussian mixtures of points in any dimension, by EM, stochastic gradients or k-means."""

from gmcn.fitting.gmm.adaptation import Adaptation, adapt
from gmcn.fitting.gmm.estimator import MixtureEstimator, fit_gmm
from gmcn.fitting.gmm.report import FitReport

__all__ = ["Adaptation", "FitReport", "MixtureEstimator", "adapt", "fit_gmm"]
