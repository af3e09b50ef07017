"""Annealing of a mixture on a torus, which takes the place of a start by k-means (Gepperth and Pfülb, 2020).

Components lie on an n x n grid that is closed to a torus. What is trained is, of each point,

    max_i Σ_j G_ij s_j,    G_ij ∝ exp(-δ_ij² / 2 σ²),    Σ_j G_ij = 1

with log-scores s and distances δ on the grid. A controller makes σ and the learning rate smaller by a factor whenever
the objective, averaged over windows of steps, has ceased to grow; for a small σ this is max_i s_i, a lower bound of the
log-likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gmcn import ranks
from gmcn.declared import above, at_least, at_most, below
from gmcn.errors import InputError

USAGE = 0.1  # weight of a window in the components' usage
FIRST, LAST = 0.3, 0.8  # between which shares of a training `exponential` reduces σ


@dataclass(frozen=True)
class AnnealingSettings:
    """The torus and its controller."""

    controller: Annotated[
        Literal["ratio", "slope", "exponential", "none"],
        "When σ is reduced: `ratio`, when a window's growth is small beside all growth so far; `slope`, beside that of "
        "the first window after the last reduction; `exponential`, in each step between 30 and 80 % of the training; "
        "`none`: it is at its floor from the start.",
    ] = "ratio"
    window: Annotated[int, at_least(1), "Steps whose objective is averaged."] = 20
    gamma: Annotated[float, above(0), below(1), "Factor of a reduction."] = 0.9
    delta: Annotated[
        float | None,
        above(0),
        "What is small: -2 delta to delta of `ratio` (null: 0.05), up to delta times the first slope of `slope` (null: "
        "0.5).",
    ] = None
    sigma: Annotated[float | None, above(0), "σ at first, in steps of the grid; null: √(2 K) / 4."] = None
    floor: Annotated[float, above(0), "Least σ."] = 0.01
    rate_floor: Annotated[
        float, above(0), at_most(1), "Least learning rate, over that at first; 1: it is not reduced."
    ] = 0.98


class Annealing(nn.Module):
    """The torus of one mixture, and the state of its controller in a buffer.

    Args:
        components: K, a square number unless the controller is "none".
        settings: see :class:`AnnealingSettings`.

    Attributes:
        state: σ, the learning rate's factor; the sum and the number of the running window's objectives, its steps, the
            number of windows (of `slope`, since the last reduction), the mean of the last one, and the mean of the
            first one or (`slope`) the first slope.
        usage: share of the positions whose best neighbourhood is that of a component, a mean over the last windows.

    Raises:
        InputError: K is no square number.
    """

    state: Tensor  # [8], float64
    usage: Tensor  # [K]
    winners: Tensor  # [K], numbers of positions of the running step
    squares: Tensor  # [K, K], squared distances on the torus
    SIGMA, RATE, SUM, COUNT, STEPS, WINDOWS, LAST, REFERENCE = range(8)

    def __init__(self, components: int, settings: AnnealingSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or AnnealingSettings()
        side = math.isqrt(components)
        if settings.controller != "none" and side * side != components:
            raise InputError(
                f"{components} components make no square torus: take {side * side} or {(side + 1) ** 2}, or anneal "
                "with the controller none"
            )
        start = settings.floor if settings.controller == "none" else settings.sigma or math.sqrt(2 * components) / 4
        self.start = max(start, settings.floor)
        state = torch.zeros(8, dtype=torch.float64)
        state[self.SIGMA], state[self.RATE] = self.start, 1.0
        self.register_buffer("state", state)
        places = torch.arange(components)
        away = torch.stack([places // side, places % side])
        away = (away[:, :, None] - away[:, None]).abs()
        away = torch.minimum(away, side - away) if settings.controller != "none" else away
        self.register_buffer("usage", torch.full((components,), 1 / components))
        self.register_buffer("winners", torch.zeros(components, dtype=torch.int64))
        self.register_buffer("squares", away.square().sum(0).double(), persistent=False)

    @property
    def sigma(self) -> float:
        """Width of the neighbourhoods, in steps of the grid."""
        return float(self.state[self.SIGMA])

    @property
    def rate(self) -> float:
        """The factor of the learning rate."""
        return float(self.state[self.RATE])

    def objective(
        self,
        scores: Tensor,  # [B, K, H, W]
    ) -> Tensor:  # [B, H, W]
        """What is trained at each position. Neighbourhoods of one component, as of a σ below 0.11, are not formed."""
        sigma, grid = float(self.state[self.SIGMA]), None
        if sigma >= 0.11:  # below, exp(-1 / 2σ²) is no number beside 1
            grid = (self.squares * (-0.5 / sigma**2)).softmax(1).to(scores)
        rows = scores.movedim(1, -1)
        objective, best = _Best.apply(rows.reshape(-1, rows.shape[-1]), grid)
        if self.training:
            self._see_(objective.detach(), best)
        return objective.view(rows.shape[:-1])

    def _see_(self, objective: Tensor, best: Tensor) -> None:  # [M], [M, K]
        """Add to the running window; in its first step, look at who is best."""
        if self.state[self.STEPS] == 0:
            self.winners += best.sum(0)
        self.state[self.SUM] += objective.sum(dtype=torch.float64)
        self.state[self.COUNT] += len(objective)

    def step_(self, done: float) -> None:
        """After a step; ``done`` is the share of the training that it ends."""
        settings, state = self.settings, self.state
        if state[self.STEPS] == 0:
            self.usage.lerp_((self.winners / self.winners.sum()).to(self.usage), USAGE)
            self.winners.zero_()
        if settings.controller == "exponential":
            share = min(max((done - FIRST) / (LAST - FIRST), 0.0), 1.0)
            state[self.SIGMA] = self.start * (settings.floor / self.start) ** share
            state[self.RATE] = settings.rate_floor**share
        state[self.STEPS] += 1
        if state[self.STEPS] >= settings.window:
            total, count = ranks.total(state[self.SUM : self.COUNT + 1]).tolist()
            state[self.SUM : self.STEPS + 1] = 0
            if count and settings.controller in ("ratio", "slope"):
                self.window_(total / count)

    def window_(self, value: float) -> None:
        """After a window whose objective was ``value`` in the mean."""
        settings, state = self.settings, self.state
        windows, last, reference = state[self.WINDOWS :].tolist()
        reduce = False
        if settings.controller == "ratio":
            if windows == 0:
                state[self.REFERENCE] = value
            elif windows >= 2:
                delta, growth = settings.delta or 0.05, last - reference
                reduce = growth != 0 and -2 * delta < (value - last) / growth < delta
        elif windows == 1:
            state[self.REFERENCE] = value - last
        elif windows >= 2:
            reduce = value - last < (settings.delta or 0.5) * reference
        state[self.WINDOWS] += 1
        state[self.LAST] = value
        if reduce:
            state[self.SIGMA] = max(state[self.SIGMA] * settings.gamma, settings.floor)
            state[self.RATE] = max(state[self.RATE] * settings.gamma, settings.rate_floor)
            if settings.controller == "slope":
                state[self.WINDOWS] = 1  # the next slope begins here


class _Best(torch.autograd.Function):
    """The largest score of each row, after the product with G where there is one; equal ones all get the gradient."""

    @staticmethod
    def forward(
        context: Any,
        scores: Tensor,  # [M, K]
        grid: Tensor | None,  # [K, K]
    ) -> tuple[Tensor, Tensor]:  # [M], and where [M, K] it is
        smoothed = scores if grid is None else scores @ grid.mT
        objective = smoothed.amax(1)
        best = smoothed == objective[:, None]
        context.save_for_backward(best, grid)
        context.mark_non_differentiable(best)
        return objective, best

    @staticmethod
    def backward(context: Any, slope: Tensor, _: Tensor) -> tuple[Tensor, None]:
        best, grid = context.saved_tensors
        slopes = best * slope[:, None]
        return slopes if grid is None else slopes @ grid, None
