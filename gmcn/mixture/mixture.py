"""The data type of the compiled operations: a mixture of Gaussians with weights of any sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Mixture(NamedTuple):
    """A sum of weighted normal densities, equations (1) and (2) of the GMCN paper.

    The value at x is ``sum_n weights[n] * normal(x; positions[n], covariances[n])``. A weight is therefore the
    integral of its component; it may have any sign, and the weights need not sum to one. Leading dimensions are
    free: [B, N] is a batch of mixtures, [B, F, N] a batch of mixtures with F channels.
    """

    weights: Tensor  # [..., N]        integrals, any sign
    positions: Tensor  # [..., N, D]
    covariances: Tensor  # [..., N, D, D]  symmetric positive definite

    @property
    def dim(self) -> int:
        """Number of spatial dimensions D."""
        return self.positions.shape[-1]

    @property
    def components(self) -> int:
        """Number of components N (``len`` of the named tuple is always three)."""
        return self.positions.shape[-2]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading dimensions shared by the three tensors."""
        return tuple(self.weights.shape[:-1])

    def map(self, function: Callable[[Tensor], Tensor]) -> Mixture:
        """The mixture of ``function(tensor)``, for example ``mixture.map(lambda t: t[:4])``."""
        return Mixture(*(function(tensor) for tensor in self))

    def to(self, *args: Any, **kwargs: Any) -> Mixture:
        """Each tensor's ``.to(...)``: device and dtype."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Mixture:
        """The same mixture cut off from autograd."""
        return self.map(lambda tensor: tensor.detach())
