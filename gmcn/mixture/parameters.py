"""The numbers of a density: their shapes, their tests, and what is done to all of them alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance
from gmcn.mixture.information import free_parameters
from gmcn.mixture.state import parameters_of, state_of
from gmcn.mixture.tensors import check_floats, check_values, mapped
from gmcn.precision import full_precision_methods


@full_precision_methods
@dataclass(frozen=True, eq=False)
class Parameters:
    """Weights, means and covariances of N components, for each of the leading positions.

    Args and errors are those of :class:`gmcn.GaussianMixture`, which adds what a density can do.
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

    def degrees_of_freedom(self) -> int:
        """How many free parameters one mixture has: N - 1 weights, N D means, and its covariances.

        A covariance counts D (D + 1) / 2, as :class:`Diagonal` D, and as :class:`LowRank` D + D R - R (R - 1) / 2 or
        the former, if that is less. As scikit-learn has it, equal factors of :class:`Full` count once ("tied"), and
        a :class:`Diagonal` with one standard deviation for each component counts 1 ("spherical").
        """
        return self.components - 1 + self.components * self.dim + free_parameters(self.covariance)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Each tensor's ``.to(...)``: device and dtype."""
        return mapped(self, lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Self:
        """The same mixture cut off from autograd."""
        return mapped(self, Tensor.detach)

    def expand(self, *shape: int) -> Self:
        """The same mixture with the leading dimensions ``shape``, as torch's ``expand``."""
        lead = len(self.batch_shape)
        return mapped(self, lambda tensor: tensor.expand(*shape, *tensor.shape[lead:]))

    def __getitem__(self, index: Any) -> Self:
        """Some of the leading positions, by any index that a tensor [...] of the leading dimensions takes."""
        lead = len(self.batch_shape)
        count = math.prod(self.batch_shape)
        places = torch.arange(count, device=self.means.device).reshape(self.batch_shape)[index]
        return mapped(self, lambda tensor: tensor.reshape(count, *tensor.shape[lead:])[places])

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all numbers by name, only tensors, with a version: what safetensors stores as it is.

        The family's name is part of its names: "version", "logits", "means", "LowRank.std" and "LowRank.factor".
        """
        return state_of(self.logits, self.means, self.covariance)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """The mixture of a :meth:`state_dict`, the same to the last bit, with the tensors themselves.

        Raises:
            ValueError: another version, an unknown family, a name that is missing or too many, or wrong numbers.
        """
        logits, means, covariance = parameters_of(state)
        made = cls(logits, means, covariance)
        object.__setattr__(made, "logits", logits)  # to normalise them again may change a last bit
        return made

    def _broadcast(self, *others: Any) -> tuple[int, ...]:
        """Leading dimensions of the mixture and of others, each before its name; ValueError where they do not fit."""
        shapes = dict(zip(others[1::2], others[::2], strict=True))
        try:
            return tuple(torch.broadcast_shapes(self.batch_shape, *shapes.values()))
        except RuntimeError:
            said = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise ValueError(f"leading dimensions do not broadcast: mixture {list(self.batch_shape)}, {said}") from None
