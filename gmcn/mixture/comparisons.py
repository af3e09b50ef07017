"""How far mixtures are from each other, and what bounds their entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture.pairs import divergences, log_products, transport_costs
from gmcn.mixture.parameters import Parameters
from gmcn.mixture.tensors import check_floats, equal, mapped
from gmcn.mixture.transport import transport_plan
from gmcn.precision import full_precision_methods


def overlap(
    first: Comparisons,
    second: Comparisons,
) -> Tensor:  # [...]
    """The overlap ∫ p q dx of two mixtures of any families and numbers of components, in closed form.

    The integrals of products of components in sum: sum_ab w_a w'_b normal(mean_a; mean'_b, C_a + C'_b). It is exactly
    the same both ways, has the unit of 1 / x^D, and is differentiable; leading dimensions broadcast. Without D x D for
    :class:`Diagonal` and :class:`LowRank`. :func:`gmcn.register` searches the pose at which it is largest.

    Raises:
        ValueError: mixtures of other dimensions, dtypes or devices, or whose leading dimensions do not broadcast.
    """
    one, two = first._beside(second)
    # Either way, since sums of rounded numbers depend on their order.
    return (_log_overlap(one, two).exp() + _log_overlap(two, one).exp()) / 2


def _log_overlap(first: Parameters, second: Parameters) -> Tensor:  # [...]
    logs = log_products(first, second) + first.logits[..., :, None] + second.logits[..., None, :]
    return logs.logsumexp((-2, -1))


@full_precision_methods
class Comparisons(Parameters):
    """Distances between mixtures of any families and numbers of components, in closed form.

    Those between whole mixtures, but for ``kl_bound``, are exactly 0 for equal parameters, with a finite gradient. They
    take all pairs of components, some at a time where there is no gradient: of two :class:`Diagonal` an array
    [N, N', D].
    """

    def bures(
        self,
        other: Parameters,
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

    def l2(
        self,
        other: Parameters,
        relative: bool = False,
    ) -> Tensor:  # [...]
        """Squared L² distance of the densities, ∫ (p - q)² dx: the integrals of products of components in sum.

        An integral ∫ p² has the unit of 1 / x^D: in many dimensions the distance may leave the range of floats, and
        becomes inf or 0. The relative one does not; both lose digits where mixtures are nearly the same, up to eps
        ∫ p². Without D x D for :class:`Diagonal` and :class:`LowRank`.

        Args:
            relative: divide by ∫ p² + ∫ q²: 0 for equal densities, 1 for those that share no place.

        Raises:
            ValueError: mixtures of other dimensions, dtypes or devices, or whose leading dimensions do not broadcast.
        """
        first, second = self._beside(other)
        logs = [
            log_products(one, two) + one.logits[..., :, None] + two.logits[..., None, :]
            for one, two in ((first, first), (second, second), (first, second))
        ]
        top = torch.stack([log.detach().amax((-2, -1)) for log in logs]).amax(0)
        own, theirs, both = ((log - top[..., None, None]).exp().sum((-2, -1)) for log in logs)
        square = (own + theirs - 2 * both).clamp(min=0)
        if relative:
            return square / (own + theirs)
        scale = top.exp()
        return square * torch.where((square == 0) & scale.isinf(), 1.0, scale)  # 0 also where inf is the scale

    def kl(
        self,
        other: Parameters,
    ) -> Tensor:  # [...]
        """The variational approximation of Kullback and Leibler's divergence ∫ p log (p / q) dx, in nats.

        sum_a w_a log (sum_a' w_a' exp -KL(p_a | p_a') / sum_b w'_b exp -KL(p_a | q_b)), after Hershey and Olsen (2007).
        It is an approximation and neither bound, and may be negative; of single components it is exact. Without D x D
        for :class:`Diagonal` and :class:`LowRank`.

        Raises:
            ValueError: mixtures of other dimensions, dtypes or devices, or whose leading dimensions do not broadcast.
        """
        first, second = self._beside(other)
        own, theirs = ((part.logits[..., None, :] - divergences(first, part)).logsumexp(-1) for part in (first, second))
        value = (first.weights * (own - theirs)).sum(-1)
        # Products of matrices round by where these lie in memory: what is equal would not be exactly.
        same = torch.as_tensor(equal(first, second, value.ndim), device=value.device)
        return torch.where(same, value - value.detach(), value)

    def kl_bound(
        self,
        other: Parameters,
        steps: int = 20,
    ) -> Tensor:  # [...]
        """An upper bound of Kullback and Leibler's divergence ∫ p log (p / q) dx, in nats.

        Each component of one is split into parts of those of the other, f_ab and g_ab; then the divergence is at most
        sum_ab f_ab (log f_ab / g_ab + KL(p_a | q_b)), whose smallest value ``steps`` of both splits in turn come near:
        the variational upper bound of Hershey and Olsen (2007). 0 for equal mixtures of components that are far from
        each other. Of single components it is exact.

        Raises:
            ValueError: mixtures of other dimensions, dtypes or devices, whose leading dimensions do not broadcast, or
                steps below 0.
        """
        if steps < 0:
            raise ValueError(f"steps is {steps}, but must be at least 0")
        first, second = self._beside(other)
        costs = divergences(first, second)  # [..., N, N']
        # A weight of 0 as one that is 0 in floats, whose logarithm is a number.
        own, theirs = (part.logits.clamp(min=-1e4) for part in (first, second))
        own, theirs = own[..., :, None], theirs[..., None, :]
        parts = own + theirs
        for _ in range(steps):
            split = theirs + parts - parts.logsumexp(-2, keepdim=True)
            parts = own + (split - costs).log_softmax(-1)
        split = theirs + parts - parts.logsumexp(-2, keepdim=True)
        return (parts.exp() * (parts - split + costs)).sum((-2, -1))

    def wasserstein(
        self,
        other: Parameters,
    ) -> Tensor:  # [...]
        """Squared distance MW₂² of Delon and Desolneux (2020): optimal transport from components to components.

        The cost of a pair is that of :meth:`bures`. It is an upper bound of the squared Wasserstein distance. Time
        N N' K³ (N N' D for two :class:`Diagonal`), and a linear program of N N' numbers on the CPU, for which SciPy is
        needed. Its plan is held fixed in the gradient, which is therefore exact for means and covariances; weights
        have none.

        Raises:
            ValueError: mixtures of other dimensions, dtypes or devices, or whose leading dimensions do not broadcast.
        """
        first, second = self._beside(other)
        costs = transport_costs(first, second)
        return (transport_plan(costs, first.logits, second.logits) * costs).sum((-2, -1))

    def entropy_bounds(self) -> tuple[Tensor, Tensor]:  # [...], [...]
        """A lower and an upper bound of the entropy -∫ p log p dx in nats, after Huber et al. (2008).

        Lower: -sum_i w_i log sum_j w_j normal(mean_i; mean_j, C_i + C_j). Upper: sum_i w_i (entropy_i - log w_i), exact
        for components without overlap. For a single one the upper is the entropy, and the lower is D (1 - log 2) / 2
        less. Memory as that of :meth:`l2`.
        """
        weights = self.weights
        lower = -(weights * (log_products(self, self) + self.logits[..., None, :]).logsumexp(-1)).sum(-1)
        logs = self.logits.masked_fill(self.logits == -math.inf, 0.0)  # 0 log 0 = 0
        entropies = (self.covariance.logdet() + self.dim * math.log(2 * math.pi * math.e)) / 2
        return lower, (weights * (entropies - logs)).sum(-1)

    def _beside(self, other: Parameters) -> tuple[Parameters, Parameters]:
        """Both with common leading dimensions, in memory of one layout: equal numbers lead to equal bits."""
        check_floats(mixture=self.means, other=other.means)
        if self.dim != other.dim:
            raise ValueError(f"the mixtures have {self.dim} and {other.dim} dimensions")
        shape = self._broadcast(other.batch_shape, "the other mixture")
        first, second = (
            mapped(part.expand(*shape), lambda tensor: tensor.clone(memory_format=torch.contiguous_format))
            for part in (self, other)
        )
        return first, second
