"""Two kinds of Gaussian mixtures, and the mathematics of both that needs no other part of the library.

:class:`Mixture` is a *signed function* in two or three dimensions, for the compiled operations of :mod:`gmcn.ops`.
:class:`GaussianMixture` is a *density* in any number of dimensions, with one of four families of covariances.
:meth:`GaussianMixture.mixture` and :meth:`GaussianMixture.from_mixture` lead from one to the other.
"""

from gmcn.mixture.affine import affine, centre_and_variances, log_size, mean_variance, rescale
from gmcn.mixture.comparisons import overlap
from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.density import GaussianMixture
from gmcn.mixture.families import Diagonal, Frame, LowRank
from gmcn.mixture.mixture import Mixture
from gmcn.mixture.tree import MixtureTree

__all__ = [
    "Covariance",
    "Diagonal",
    "Frame",
    "Full",
    "GaussianMixture",
    "LowRank",
    "Mixture",
    "MixtureTree",
    "affine",
    "centre_and_variances",
    "log_size",
    "mean_variance",
    "overlap",
    "rescale",
]
