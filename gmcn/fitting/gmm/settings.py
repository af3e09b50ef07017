"""The options of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gmcn.declared import above, at_least, at_most
from gmcn.errors import InputError

Method = Literal["em", "sgd", "kmeans"]
Covariances = Literal["full", "diagonal", "spherical", "low-rank"]


@dataclass(frozen=True)
class EstimatorSettings:
    """How a mixture is fitted."""

    n: Annotated[int, at_least(1), "Components (N)."]
    method: Annotated[
        Method,
        "em: expectation maximisation (with a batch_size stepwise, Cappé & Moulines 2009, after a step on all); sgd: "
        "stochastic gradients of the log-likelihood, by Adam; kmeans: Lloyd's algorithm, then the moments of the "
        "clusters.",
    ] = "em"
    covariance: Annotated[Covariances, "The family of covariances; low-rank: a mixture of factor analysers."] = "full"
    rank: Annotated[int | None, at_least(1), "low-rank: number of factors; null: 4, or all but one dimension."] = None
    floor: Annotated[
        float, above(0), "Least variance, in squared units of the points; of low-rank that of the diagonal part."
    ] = 1e-6
    flooring: Annotated[
        Literal["clip", "add"],
        "clip: smaller variances become the floor, of full covariances along principal axes (by sgd: each given those "
        "of the coordinates before); add: it is added to all, as scikit-learn's reg_covar.",
    ] = "clip"
    iterations: Annotated[int, at_least(1), "Passes over the points, at most."] = 100
    tolerance: Annotated[
        float,
        at_least(0),
        "A fit has converged after an iteration whose mean log-likelihood differs by at most this from that of the "
        "iteration before (of k-means: the mean squared distance by this share of it); 0: after all iterations.",
    ] = 1e-3
    batch_size: Annotated[
        int | None,
        at_least(1),
        "Points of a step, several for each component; null: all (em and kmeans), or 1,000 (sgd).",
    ] = None
    step_decay: Annotated[
        float, above(0.5), at_most(1), "Stepwise EM: step t weighs a batch's sums by t to the power of minus this."
    ] = 0.6
    learning_rate: Annotated[float, above(0), "sgd: Adam's rate, in units of the data's standard deviation."] = 0.01
    seed: Annotated[int, at_least(0), "Of the start and of the batches."] = 0

    def check(self) -> None:
        """Raise :class:`InputError` where two values cannot be together."""
        if self.rank is not None and self.covariance != "low-rank":
            raise InputError(f"fit_gmm: rank belongs to low-rank covariances, not to {self.covariance}; leave it out")
        if self.method == "kmeans" and self.batch_size is not None:
            raise InputError("fit_gmm: k-means takes all points at a time; leave out batch_size")
        if self.method == "kmeans" and self.covariance == "low-rank":
            raise InputError("fit_gmm: k-means gives no factors; take the method 'em', which begins with clusters")
        if self.method == "sgd" and self.covariance == "full" and self.flooring == "add":
            raise InputError("fit_gmm: sgd adds no floor to full covariances; set flooring to 'clip'")

    def batch(self, count: int) -> int | None:
        """Points of a step where there are ``count``; None: all, in one exact step."""
        size = self.batch_size or (1000 if self.method == "sgd" else count)
        return None if size >= count and self.method != "sgd" else min(size, count)
