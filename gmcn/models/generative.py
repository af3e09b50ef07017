"""What networks have in common from which new objects are drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.models.network import Network


class Generative(Network):
    """A network that draws objects, in the units of the data.

    ``how`` are options of drawing that only some networks have; :class:`InputError` for one that this one lacks.
    """

    largest: float = 1.0  # the value of an object that is white in a picture

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        components: Tensor | None = None,  # [n] long
        **how: Any,
    ) -> Tensor:  # [n, *shape]
        """``n`` new objects, or each from the component that is given for it."""
        raise NotImplementedError

    def like(
        self,
        inputs: Tensor,  # [B, *shape]
        generator: torch.Generator,
        **how: Any,
    ) -> Tensor:  # [B, *shape]
        """A variant of each object."""
        raise NotImplementedError

    def fill(
        self,
        inputs: Tensor,  # [B, *shape]
        keep: Tensor,  # [*shape] bool
        generator: torch.Generator,
        **how: Any,
    ) -> Tensor:  # [B, *shape]
        """The objects with only the values of ``keep``; all others are drawn: here those of a variant of the object."""
        drawn = self.like(inputs, generator, **how)
        return torch.where(keep, inputs.to(drawn), drawn)

    def between(
        self,
        ends: Tensor,  # [2, *shape]
        n: int,
        generator: torch.Generator,
        **how: Any,
    ) -> Tensor:  # [n, *shape]
        """``n`` objects on the way from one to another, both of these as the network makes them."""
        raise InputError(f"{type(self).__name__} knows no way between two objects")


def no_options(network: Network, how: dict[str, Any]) -> None:
    """:class:`InputError` for options of drawing that a network does not have."""
    if how:
        raise InputError(f"{type(network).__name__} draws its samples as they are, without {', '.join(sorted(how))}")
