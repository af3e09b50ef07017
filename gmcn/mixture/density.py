"""Mixtures of Gaussians as probability densities, in any number of dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gmcn.mixture.comparisons import Comparisons
from gmcn.mixture.conditionals import block, conditioned, coordinates
from gmcn.mixture.covariance import Full
from gmcn.mixture.estimators import covariance_of, estimator_of
from gmcn.mixture.families import Diagonal, LowRank
from gmcn.mixture.groups import conditional as shares_of
from gmcn.mixture.groups import merged, pooled
from gmcn.mixture.information import total_log_prob
from gmcn.mixture.low_rank import merged_low_rank
from gmcn.mixture.mixture import Mixture
from gmcn.mixture.tensors import check_floats, check_values, mapped, take
from gmcn.precision import full_precision_methods

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture as Estimator


@full_precision_methods
@dataclass(frozen=True, eq=False)
class GaussianMixture(Comparisons):
    """A density: sum_n w_n normal(x; mean_n, C_n) with weights that are positive and sum to one.

    Names and meanings are those of torch.distributions, but every draw has a generator. Everything is differentiable
    with respect to all parameters and points. Leading dimensions are free and broadcast with those of points. Weights
    may be zero (a logit of -inf): such a component changes no value and gets no gradient.

    The logits are normalised once, here, so build the mixture anew where parameters have changed.

    Args:
        logits: [..., N], logarithms of weights up to a constant; as a field they are the logarithms of the weights.
        means: [..., N, D].
        covariance: of shape [..., N] in D dimensions: :class:`Full`, :class:`Diagonal`, :class:`Frame` or
            :class:`LowRank`; its docstring says what ``log_prob`` needs of memory.

    Raises:
        ValueError: parameters whose shapes, dtypes or devices do not fit; a logit or mean that is not finite, but for
            logits of -inf; no component with a positive weight. On CUDA wrong values become not-a-number.
    """

    def component_log_prob(
        self,
        x: Tensor,  # [..., M, D]
    ) -> Tensor:  # [..., M, N]
        """Logarithm of weight times density of each component: ``log_prob`` is its logsumexp."""
        check_floats(mixture=self.means, x=x)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ValueError(f"x must be [..., M, {self.dim}] for {self.dim} dimensions, got {list(x.shape)}")
        self._broadcast(x.shape[:-2], "x")
        # Without leading dimensions of its own, a mixture meets all points at once.
        points = x if self.batch_shape else x.reshape(math.prod(x.shape[:-1]), self.dim)
        distances = self.covariance.distances(points, self.means, self.mean.detach()[..., None, :])
        scale = self.logits - (self.covariance.logdet() + self.dim * math.log(2 * math.pi)) / 2
        values = scale[..., None, :] - distances / 2
        return values if self.batch_shape else values.reshape(*x.shape[:-1], self.components)

    def log_prob(
        self,
        x: Tensor,  # [..., M, D]
    ) -> Tensor:  # [..., M]
        """Logarithm of the density.

        Raises:
            ValueError: points of another dimension, dtype or device, or with other leading dimensions.
        """
        return self.component_log_prob(x).logsumexp(-1)

    def responsibilities(
        self,
        x: Tensor,  # [..., M, D]
    ) -> Tensor:  # [..., M, N]
        """Probability of each component, given the point: the shares of the density, with sum one."""
        return self.component_log_prob(x).softmax(-1)

    def sample(
        self,
        n: int,
        generator: torch.Generator,
    ) -> Tensor:  # [..., n, D]
        """``n`` independent draws; those of a generator on the CPU are the same for a mixture on any device.

        The draws have a gradient with respect to means and covariances (noise is coloured), none to the weights.
        Memory n D K, with a root [D, K] of the drawn component for each draw, but n D for :class:`Diagonal`.
        """
        own: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        total = self.weights.detach().to(generator.device, torch.float64).cumsum(-1)
        end = total[..., -1:]
        heights = torch.rand(*self.batch_shape, n, **own) * end
        # Never the end itself, which rounding may reach: a component of weight zero is not drawn.
        drawn = torch.searchsorted(total, torch.minimum(heights, end.nextafter(torch.zeros_like(end))), right=True)
        picked = mapped(self, lambda tensor: take(tensor, drawn.to(tensor.device)))
        noise = torch.randn(*self.batch_shape, n, 1, self.covariance.noise, **own).to(self.means)
        return picked.means + picked.covariance.color(noise)[..., 0, :]

    def moments(self) -> tuple[Tensor, Tensor]:  # [..., D], [..., D, D]
        """Mean and covariance of the whole density. Memory N D²."""
        means, covariances = pooled(self.weights[..., None, :], self.means, self.covariance)
        return means[..., 0, :], covariances[..., 0, :, :]

    def transform(
        self,
        matrix: Tensor,  # [..., D, D]
        translation: Tensor | None = None,  # [..., D]
    ) -> GaussianMixture:
        """The density of B x + t, with an invertible matrix B. Leading dimensions broadcast.

        Its ``log_prob`` at B x + t is that of this mixture at x, less log |det B|. :class:`Full` stays what it is;
        :class:`Frame` does under rotations, reflections and common factors; :class:`Diagonal` and :class:`LowRank`
        do where the axes are only scaled and permuted. Else the result is :class:`Full`, which asks for values.

        Raises:
            ValueError: sizes, dtypes or devices that do not fit, or a singular matrix.
        """
        translation = self.means.new_zeros(self.dim) if translation is None else translation
        check_floats(mixture=self.means, matrix=matrix, translation=translation)
        if matrix.shape[-2:] != (self.dim, self.dim) or translation.shape[-1:] != (self.dim,):
            raise ValueError(
                f"matrix {list(matrix.shape)} and translation {list(translation.shape)} do not fit a mixture in "
                f"{self.dim} dimensions: expected [..., {self.dim}, {self.dim}] and [..., {self.dim}]"
            )
        if matrix.device.type == "cpu":
            # Rows of length one: axes may have any units. Of a rounded singular matrix the last value is rounding.
            sizes = torch.linalg.svdvals(
                torch.nn.functional.normalize(matrix.detach(), dim=-1, eps=torch.finfo(matrix.dtype).tiny)
            )
            least = sizes[..., -1] > self.dim * torch.finfo(matrix.dtype).eps * sizes[..., 0]
            check_values(least, "the matrix is singular")
        shape = self._broadcast(matrix.shape[:-2], "matrix", translation.shape[:-1], "translation")
        spread = self.expand(*shape)
        covariance = spread.covariance.transform(matrix[..., None, :, :])
        return GaussianMixture(spread.logits, spread.means @ matrix.mT + translation[..., None, :], covariance)

    def merge(
        self,
        groups: Tensor,  # [N] or [..., N], labels 0 ... G - 1
    ) -> GaussianMixture:  # [..., G]
        """One component for each group, with its weight, mean and covariance: the whole's moments stay.

        The result is :class:`Full`, also where this mixture is not: means that differ correlate all dimensions.
        Memory (N + G) D². Of a group whose weights are all zero, components count the same.

        Raises:
            ValueError: labels that are no integers, of another shape, negative, or that leave a group without one.
        """
        weights, means, covariances = merged(self.logits, self.means, self.covariance, groups)
        return GaussianMixture(weights, means, Full.from_dense(covariances))

    def merge_low_rank(
        self,
        groups: Tensor,  # [N] or [..., N], labels 0 ... G - 1
        rank: int,
    ) -> tuple[GaussianMixture, Tensor]:  # [..., G], [..., G]
        """One :class:`LowRank` component for each group, as :meth:`merge`, and what its covariance has lost by that.

        Weights, means and all variances stay. Of the correlations, ``rank`` factors keep what they can: the error is
        the Frobenius norm of what is missing, divided by that of the covariance, and 0 where the rank suffices. From
        :class:`Diagonal` and :class:`LowRank`; nothing is D x D. The gradient holds the choice of factors fixed and is
        exact where the rank suffices; the error has none.

        Raises:
            ValueError: another family, a negative rank, or labels as in :meth:`merge`.
        """
        if not isinstance(self.covariance, Diagonal | LowRank):
            raise ValueError(
                f"merge_low_rank takes Diagonal or LowRank, got {type(self.covariance).__name__}: merge takes any"
            )
        if rank < 0:
            raise ValueError(f"rank must be 0 or more, got {rank}")
        within, weights = shares_of(self.logits, groups)
        means, covariance, errors = merged_low_rank(within, groups, self.means, self.covariance, rank)
        return GaussianMixture(weights, means, covariance), errors

    def marginal(self, dims: Sequence[int]) -> GaussianMixture:
        """The density of some coordinates, in the order of ``dims``, whatever the others are.

        :class:`Diagonal` and :class:`LowRank` stay what they are, the others become :class:`Full`.

        Raises:
            ValueError: no coordinate, one twice, or one that does not exist.
        """
        known, _ = coordinates(dims, self.dim)
        return GaussianMixture(self.logits, self.means[..., known], block(self.covariance, known))

    def conditional(
        self,
        dims: Sequence[int],
        values: Tensor,  # [..., K]
    ) -> GaussianMixture:
        """The density of the other D - K coordinates, in their order, where those of ``dims`` have these values.

        Leading dimensions broadcast. Families are those of :meth:`marginal`: no covariance depends on the values. A
        component's weight is its share of the density at the values. A regression is ``conditional(...).mean``.

        Raises:
            ValueError: coordinates as in :meth:`marginal`, or all of them; values of another shape, dtype or device,
                or not finite.
        """
        known, others = coordinates(dims, self.dim)
        check_floats(mixture=self.means, values=values)
        if not others or values.shape[-1:] != (len(known),):
            raise ValueError(
                f"values {list(values.shape)} of {len(known)} of {self.dim} coordinates: expected [..., {len(known)}] "
                "and at least one coordinate left"
            )
        check_values(values.isfinite().all(-1), "values are not finite")
        shape = self._broadcast(values.shape[:-1], "values")
        logits = self.marginal(known).component_log_prob(values[..., None, :])[..., 0, :]
        deltas = values[..., None, :] - self.means[..., known]
        shift, covariance = conditioned(self.covariance, known, others, deltas)
        lead = len(self.batch_shape)
        covariance = mapped(covariance, lambda tensor: tensor.expand(*shape, *tensor.shape[lead:]))
        means = self.means[..., others] + shift
        return GaussianMixture(logits, means.expand(*shape, *means.shape[-2:]), covariance)

    def bic(
        self,
        x: Tensor,  # [..., M, D]
        weights: Tensor | None = None,  # [..., M]
    ) -> Tensor:  # [...]
        """The Bayesian information criterion, -2 log-likelihood + degrees of freedom * log(points): less is better.

        Weights count a point several times, or in part. Some points at a time, so that memory does not grow with M
        where there is no gradient.

        Raises:
            ValueError: points as in :meth:`log_prob`; weights that do not fit them, are negative, or are all 0.
        """
        total, mass = self._log_likelihood(x, weights)
        return self.degrees_of_freedom() * mass.log() - 2 * total

    def aic(
        self,
        x: Tensor,  # [..., M, D]
        weights: Tensor | None = None,  # [..., M]
    ) -> Tensor:  # [...]
        """Akaike's information criterion, -2 log-likelihood + 2 degrees of freedom; else as :meth:`bic`."""
        return 2 * self.degrees_of_freedom() - 2 * self._log_likelihood(x, weights)[0]

    def _log_likelihood(self, x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        return total_log_prob(self.log_prob, x, weights, self.means.numel())

    @classmethod
    def from_mixture(cls, mixture: Mixture) -> GaussianMixture:
        """The mixture divided by its integral, with :class:`Full` covariances.

        Raises:
            ValueError: a weight that is negative, or none that is positive; a covariance that is not positive definite.
        """
        positive = mixture.weights > 0
        check_values(mixture.weights >= 0, "a density has no negative weights, and none that is no number")
        check_values(positive.any(-1), "a density needs a positive weight: all are 0")
        logits = torch.where(positive, torch.where(positive, mixture.weights, 1.0).log(), -torch.inf)
        return cls(logits, mixture.positions, Full.from_dense(mixture.covariances))

    def mixture(self) -> Mixture:
        """The same function as :class:`Mixture`, for :mod:`gmcn.ops`. ValueError unless D is 2 or 3."""
        if self.dim not in (2, 3):
            raise ValueError(f"a Mixture has 2 or 3 dimensions; this density has {self.dim}")
        return Mixture(self.weights, self.means, self.covariance.dense())

    @classmethod
    def from_sklearn(cls, estimator: Any) -> GaussianMixture:
        """The density of a fitted ``sklearn.mixture.GaussianMixture`` or ``BayesianGaussianMixture``, in float64.

        "full" and "tied" become :class:`Full` (tied: one factor, expanded), "diag" and "spherical" :class:`Diagonal`.
        Of a Bayesian mixture this is the density with its estimated parameters; its own ``score_samples`` is another
        number, a bound that averages over them.

        Raises:
            ValueError: something else, or an estimator that is not fitted.
        """
        weights, means, covariance = covariance_of(estimator)
        return cls(weights.log(), means, covariance)

    def to_sklearn(self, covariance_type: str | None = None) -> Estimator:
        """A fitted ``sklearn.mixture.GaussianMixture`` in float64, with which one can predict and score.

        Args:
            covariance_type: "full", "tied", "diag" or "spherical". By default the smallest that fits: "diag" for
                :class:`Diagonal`, or "spherical" where each component has one standard deviation, and "full" for the
                others, or "tied" for a :class:`Full` with one factor. One component counts as "full" and one
                dimension as "diag", where types do not differ.

        Raises:
            ValueError: a type that does not fit the covariances, or a mixture with leading dimensions.
        """
        if self.batch_shape:
            raise ValueError(f"scikit-learn has one mixture at a time, not {list(self.batch_shape)}: index it")
        whole = self.detach().to("cpu", torch.float64)
        return estimator_of(whole.weights, whole.means, whole.covariance, covariance_type)
