"""Fits Gaussian mixtures in any dimension: :func:`fit_gmm`, and :class:`MixtureEstimator` for streams and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from gmcn.declared import check
from gmcn.errors import InputError
from gmcn.fitting.gmm.fit import Fit
from gmcn.fitting.gmm.points import check_points, present
from gmcn.fitting.gmm.report import FitReport
from gmcn.fitting.gmm.settings import Covariances, EstimatorSettings, Method
from gmcn.mixture import GaussianMixture
from gmcn.precision import full_precision

Start = Literal["kmeans++", "random"] | GaussianMixture
Progress = Callable[[int, Tensor], object]  # iteration, log-likelihood [...]


def silent(iteration: int, log_likelihood: Tensor) -> None:
    """No progress."""


def fit_gmm(
    x: Tensor,  # [..., M, D]
    n: int,
    method: Method = "em",
    covariance: Covariances = "full",
    *,
    weights: Tensor | None = None,  # [..., M]
    progress: Progress = silent,
    **options: Any,
) -> GaussianMixture:  # [..., n]
    """A Gaussian mixture with ``n`` components of points in any dimension, or one of each of many sets of points.

    The same as ``MixtureEstimator(n, method, covariance=covariance, **options).fit(x, weights, progress).mixture``.
    """
    estimator = MixtureEstimator(n, method, covariance=covariance, **options)
    return estimator.fit(x, weights, progress).mixture


class MixtureEstimator:
    """Fits one Gaussian mixture to points, or one to each of many sets of points; any dimension, CPU or GPU.

    ``fit`` takes all points and begins anew; ``partial_fit`` takes the next batch of a stream. Points may be float32
    or float64. Sums over points are kept in float64; full covariances are computed in float64 altogether, and others
    in the steps of EM in which a component's variance is far below its squared distance from the mean of all points.
    Memory beside the points: some tiles of 16 MB, and N F numbers with F = 2 D, for full covariances D² / 2, for low
    rank D R.

    Args:
        n: number of components N.
        start: "kmeans++" (clusters of 10,000 of the points, or of 20 n), "random" (equal Gaussians at points), or a
            :class:`gmcn.GaussianMixture` of the same family.
        **options: see :class:`EstimatorSettings`.

    Attributes:
        mixture: the :class:`gmcn.GaussianMixture` as it is fitted now, in the dtype of the points.
        report: a :class:`FitReport`.

    Raises:
        InputError: an option that cannot be; points or weights of a wrong shape, not finite or negative; fewer points
            than components; parameters that are not finite, with the component and the iteration.
    """

    def __init__(
        self,
        n: int,
        method: Method = "em",
        *,
        start: Literal["kmeans++", "random"] | GaussianMixture = "kmeans++",
        **options: Any,
    ) -> None:
        said = {"n": n, "method": method, **{key: value for key, value in options.items() if value is not None}}
        check(EstimatorSettings, said, "fit_gmm")
        self.settings = EstimatorSettings(**said)
        self.settings.check()
        if not isinstance(start, GaussianMixture) and start not in ("kmeans++", "random"):
            raise InputError(f"fit_gmm: start is {start!r}; it must be 'kmeans++', 'random' or a GaussianMixture")
        self.start = start
        self._fit: Fit | None = None

    @property
    def mixture(self) -> GaussianMixture:
        """The mixture as it is fitted now."""
        return self._fitted.result()

    @property
    def report(self) -> FitReport:
        """Iterations, log-likelihoods and counts of components that deserve a look."""
        return self._fitted.report()

    @property
    def _fitted(self) -> Fit:
        if self._fit is None:
            raise InputError("fit_gmm: nothing is fitted yet; call fit or partial_fit first")
        return self._fit

    @full_precision
    @torch.no_grad()
    def fit(
        self,
        x: Tensor,  # [..., M, D]
        weights: Tensor | None = None,  # [..., M]
        progress: Progress = silent,
    ) -> MixtureEstimator:
        """Fit all points, from the start; ``progress`` is told the iteration and its log-likelihood [...].

        That is what it has found before its step; :attr:`mixture` is then the one after it.

        ``weights`` are masses of the points, as if each were there so often; a point of mass 0 does not exist.
        """
        mass = check_points(x, weights, self.settings.n)
        fit = self._fit = Fit(self.settings, self.start, x, mass)
        for iteration in range(1, self.settings.iterations + 1):
            progress(iteration, fit.iterate(x, mass))
            if fit.converged.all():
                break
        fit.finish(x, mass)
        return self

    @full_precision
    @torch.no_grad()
    def partial_fit(
        self,
        x: Tensor,  # [..., M, D]
        weights: Tensor | None = None,  # [..., M]
    ) -> MixtureEstimator:
        """Take the next batch of a stream: a step of stepwise EM, or steps of SGD. The first one makes the start."""
        if self.settings.method == "kmeans":
            raise InputError("fit_gmm: k-means takes no streams; fit them by the method 'em' or 'sgd'")
        mass = check_points(x, weights, 1 if self._fit else self.settings.n)
        if self._fit is None:
            self._fit = Fit(self.settings, self.start, x, mass)
        else:
            self._fit.check_alike(x)
            self._fit.points = self._fit.points + present(x, mass)
        self._fit.stream(x, mass)
        return self
