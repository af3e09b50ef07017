"""Layers on Gaussian mixtures: the parts of a Gaussian convolution layer (figures 1 and 4) and the whole of it."""

from gmcn.nn.convolution import GaussianConvolution
from gmcn.nn.folding import Folding, Pooling
from gmcn.nn.gaussian_mixture_layer import GaussianMixtureLayer
from gmcn.nn.gcl import GCL
from gmcn.nn.gmm_layer import GMMLayer
from gmcn.nn.merging import merge, prune
from gmcn.nn.norm import BatchNorm, MixtureNorm, averaged_statistics, mean_activation, rescale, synchronise
from gmcn.nn.reduction import Reduction
from gmcn.nn.relu_fit import ReLUFit

__all__ = [
    "GCL",
    "BatchNorm",
    "Folding",
    "GMMLayer",
    "GaussianConvolution",
    "GaussianMixtureLayer",
    "MixtureNorm",
    "Pooling",
    "ReLUFit",
    "Reduction",
    "averaged_statistics",
    "mean_activation",
    "merge",
    "prune",
    "rescale",
    "synchronise",
]
