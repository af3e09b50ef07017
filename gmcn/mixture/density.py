"""Mixtures of Gaussians as probability densities, in any number of dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.estimators import covariance_of, estimator_of
from gmcn.mixture.groups import conditional, members, pooled
from gmcn.mixture.mixture import Mixture
from gmcn.mixture.tensors import check_floats, check_values, mapped, take

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture as Estimator


@dataclass(frozen=True, eq=False)
class GaussianMixture:
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

    logits: Tensor  # [..., N]
    means: Tensor  # [..., N, D]
    covariance: Covariance  # [..., N] in D dimensions

    def __post_init__(self) -> None:
        if not isinstance(self.covariance, Covariance):
            raise ValueError(
                f"covariance must be Full, Diagonal, Frame or LowRank, got {type(self.covariance).__name__}"
            )
        check_floats(means=self.means, logits=self.logits, covariance=self.covariance.row)
        shape, dim = self.covariance.shape, self.covariance.dim
        if self.logits.shape != shape or self.means.shape != (*shape, dim) or shape[-1] == 0:
            raise ValueError(
                f"logits {list(self.logits.shape)} and means {list(self.means.shape)} do not fit covariances "
                f"{list(shape)} in {dim} dimensions: expected {list(shape)} and {[*shape, dim]}, at least one component"
            )
        check_values(self.means.isfinite().all(-1), "means are not finite")
        check_values(self.logits < math.inf, "logits are not finite")  # also not-a-number
        check_values((self.logits > -math.inf).any(-1), "no component has a positive weight")
        object.__setattr__(self, "logits", self.logits.log_softmax(-1))

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return self.means.shape[-1]

    @property
    def components(self) -> int:
        """Number of components N."""
        return self.means.shape[-2]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading dimensions."""
        return tuple(self.logits.shape[:-1])

    @property
    def weights(self) -> Tensor:  # [..., N]
        """Positive or zero, with sum one."""
        return self.logits.exp()

    @property
    def mean(self) -> Tensor:  # [..., D]
        """Expectation of the whole density."""
        return (self.weights[..., None, :] @ self.means)[..., 0, :]

    def to(self, *args: Any, **kwargs: Any) -> GaussianMixture:
        """Each tensor's ``.to(...)``: device and dtype."""
        return mapped(self, lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> GaussianMixture:
        """The same mixture cut off from autograd."""
        return mapped(self, Tensor.detach)

    def expand(self, *shape: int) -> GaussianMixture:
        """The same mixture with the leading dimensions ``shape``, as torch's ``expand``."""
        lead = len(self.batch_shape)
        return mapped(self, lambda tensor: tensor.expand(*shape, *tensor.shape[lead:]))

    def __getitem__(self, index: Any) -> GaussianMixture:
        """Some of the leading positions, by any index that a tensor [...] of the leading dimensions takes."""
        lead = len(self.batch_shape)
        count = math.prod(self.batch_shape)
        places = torch.arange(count, device=self.means.device).reshape(self.batch_shape)[index]
        return mapped(self, lambda tensor: tensor.reshape(count, *tensor.shape[lead:])[places])

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
        within, weights = conditional(self.logits, groups)
        shares = torch.where(members(groups, weights.shape[-1]), within.exp()[..., None, :], 0.0)
        means, covariances = pooled(shares, self.means, self.covariance)
        return GaussianMixture(weights, means, Full.from_dense(covariances))

    def bures(
        self,
        other: GaussianMixture,
    ) -> Tensor:  # [..., N]
        """Squared Bures-Wasserstein distance (of optimal transport) from each component to the other's of its number.

        |mean - mean'|² + tr C + tr C' - 2 tr (C^½ C' C^½)^½; weights play no part. It is exactly 0 for equal
        components, with a gradient of 0; see :meth:`Covariance.bures`. Time N K³, but N D for two :class:`Diagonal`.

        Raises:
            ValueError: mixtures of other shapes, dtypes or devices.
        """
        check_floats(mixture=self.means, other=other.means)
        if self.means.shape[-2:] != other.means.shape[-2:]:
            raise ValueError(f"means {list(self.means.shape)} and {list(other.means.shape)} have no common components")
        self._broadcast(other.batch_shape, "the other mixture")
        return (self.means - other.means).square().sum(-1) + self.covariance.bures(other.covariance)

    @classmethod
    def from_mixture(cls, mixture: Mixture) -> GaussianMixture:
        """The mixture divided by its integral, with :class:`Full` covariances.

        Raises:
            ValueError: a weight that is negative, or none that is positive; a covariance that is not positive definite.
        """
        positive = mixture.weights > 0
        check_values(mixture.weights >= 0, "a density has no negative weights")
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

    def _broadcast(self, *others: Any) -> tuple[int, ...]:
        """Leading dimensions of the mixture and of others, each before its name; ValueError where they do not fit."""
        shapes = dict(zip(others[1::2], others[::2], strict=True))
        try:
            return tuple(torch.broadcast_shapes(self.batch_shape, *shapes.values()))
        except RuntimeError:
            said = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise ValueError(f"leading dimensions do not broadcast: mixture {list(self.batch_shape)}, {said}") from None
