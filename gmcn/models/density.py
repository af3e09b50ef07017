"""What networks have in common whose answer is the log-density of each object."""

from __future__ import annotations

import torch
from torch import Tensor

from gmcn.models.network import Network


class Density(Network):
    """A network that gives log p [B] of B objects, in nats, for the task ``density``."""

    tasks = ("density",)

    def sample(
        self,
        n: int,
        generator: torch.Generator,
    ) -> Tensor:  # [n, *shape]
        """``n`` draws from the density, in the units of its objects."""
        raise NotImplementedError

    def centres(self) -> Tensor | None:  # [N, *shape]
        """The means of the components, the most frequent first, in the units of the objects; None if it has none."""
        return None

    def dead(self) -> int | None:
        """How many components hardly any object belongs to; None of a network without components."""
        return None
