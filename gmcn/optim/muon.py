"""Muon for the weights of kernels, Adam for all else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

# A step of a matrix, over one of Adam's: chosen on held-out images of Fashion-MNIST (docs/reproduction.md).
FACTOR = 10.0


class MuonAdam(torch.optim.Optimizer):
    """torch's Muon on some parameters, as matrices, and torch's Adam on the others.

    A parameter [G, ...] is a matrix of G rows. Muon makes the singular values of its gradient's average equal, so that
    a step goes in all directions alike (Jordan et al., "Muon: an optimizer for hidden layers in neural networks",
    2024). The root mean square of a step is 0.2 times ``factor`` times the learning rate, whatever the matrix's size
    (Liu et al., "Muon is scalable for LLM training", 2025, section 2.2). ``groups`` are those of all parameters; a
    group's key ``relative`` says how many times the learning rate its ``lr`` is
    (:meth:`gmcn.models.Network.relative_rate`).
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        matrices: Sequence[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.0,
        factor: float = FACTOR,
    ) -> None:
        self.kernels = list(matrices)
        self.matrices = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in self.kernels]
        chosen = {id(kernel) for kernel in self.kernels}
        others = [{**group, "params": [p for p in group["params"] if id(p) not in chosen]} for group in groups]
        parts: list[torch.optim.Optimizer] = []
        if self.matrices:
            parts.append(
                torch.optim.Muon(
                    [{"params": self.matrices, "relative": factor}],
                    lr=factor * lr,
                    weight_decay=weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        if others := [group for group in others if group["params"]]:
            adam = torch.optim.AdamW if weight_decay else torch.optim.Adam
            parts.append(adam(others, lr=lr, weight_decay=weight_decay))
        self.parts = tuple(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # The kernels may have changed, or be other memory: Network.after_step_, or to another device.
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.data = kernel.flatten(1).clone()
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for part in self.parts:
            part.step()
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            kernel.copy_(matrix.view_as(kernel))
            matrix.grad = None
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters, those of the kernels too."""
        super().zero_grad(set_to_none)
        for kernel in self.kernels:
            if set_to_none:
                kernel.grad = None
            elif kernel.grad is not None:
                kernel.grad.zero_()

    def __getstate__(self) -> dict[str, Any]:
        """For copies, together with their network."""
        own = {"kernels": self.kernels, "matrices": self.matrices, "parts": self.parts}
        return {**super().__getstate__(), **own}

    def state_dict(self) -> dict[str, Any]:
        """Those of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
