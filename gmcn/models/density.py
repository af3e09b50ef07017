"""What networks have in common whose answer is the log-density of each object."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.models.generative import Generative

BATCH = 500  # bounds memory


class Density(Generative):
    """A network that gives log p [B] of B objects, in nats, for the task ``density``.

    Objects and samples are in the units of the data (0 to 255 of images of 8 bits); samples are not clipped to them.
    """

    tasks = ("density",)

    def like(
        self,
        inputs: Tensor,  # [B, *shape]
        generator: torch.Generator,
        **how: Any,
    ) -> Tensor:  # [B, *shape]
        """A variant of each object: a draw from a component, which is drawn by its responsibility for the object."""
        shares = self.responsibilities(inputs).to(generator.device, torch.float64)
        components = torch.multinomial(shares, 1, generator=generator)[:, 0]
        return self.sample(len(inputs), generator, components=components.to(inputs.device), **how)

    def responsibilities(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B, N]
        """The probability of each component, given the object, in the order of the parameters."""
        raise InputError(f"{type(self).__name__} has no components of which objects could be")

    @torch.no_grad()
    def assign(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> Tensor:  # [B] long
        """The component with the largest responsibility for each object."""
        return torch.cat([self.responsibilities(part).argmax(-1) for part in inputs.split(BATCH)])

    def centres(self) -> Tensor | None:  # [N, *shape]
        """The means of the components, the most frequent first, in the units of the objects; None if it has none."""
        return None

    @torch.no_grad()
    def typicality(self, inputs: Tensor) -> Tensor:  # [B]
        """By what outliers are told from objects such as those trained on: low for outliers. The log-density."""
        return self(inputs)

    def dead(self) -> int | None:
        """How many components hardly any object belongs to; None of a network without components."""
        return None

    def layers(
        self,
        inputs: Tensor,  # [B, *shape]
    ) -> list[dict[str, Any]]:
        """Of each layer of mixtures: its ``name``, and for each object and position (a grid over the object) the
        ``log_likelihood`` [B, H, W] in nats and the ``bound`` [B, H, W], that of the best component alone.
        """
        return []

    def about_layers(self) -> list[dict[str, Any]]:
        """Of each of several layers: ``name``, ``components``, ``dim``, ``cap`` (the largest precision allowed), how
        many are ``dead``, and their ``sparsity``.
        """
        return []
