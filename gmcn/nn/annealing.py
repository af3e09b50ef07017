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
from gmcn.nn.folding import Folding
from gmcn.nn.gmm_layer import GMMLayer, Parts
from gmcn.nn.gmm_objective import ObjectiveOfScores

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
        self._grid: tuple[float, Tensor] | None = None  # the last σ and its G
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

    def _apply(self, fn: Any, recurse: bool = True) -> Annealing:
        """Move the state to a device, but keep it in float64: it counts."""
        state = self.state
        super()._apply(fn, recurse)
        self.state = state.to(self.state.device)
        return self

    @property
    def sigma(self) -> float:
        """Width of the neighbourhoods, in steps of the grid."""
        return float(self._numbers[self.SIGMA])

    @property
    def rate(self) -> float:
        """The factor of the learning rate."""
        return float(self._numbers[self.RATE])

    @property
    def grid(self) -> Tensor | None:  # [K, K], float64
        """G; None for neighbourhoods of one component, as of a σ below 0.11."""
        sigma = self.sigma
        if sigma < 0.11:  # exp(-1 / 2σ²) is no number beside 1
            return None
        if self._grid is None or self._grid[0] != sigma:
            self._grid = sigma, (self.squares * (-0.5 / sigma**2)).softmax(1)
        return self._grid[1].to(self.squares.device)

    def objective(
        self,
        scores: Tensor,  # [B, K, H, W]
    ) -> Tensor:  # [B, H, W]
        """What is trained at each position."""
        rows, grid = scores.movedim(1, -1), self.grid
        found = ObjectiveOfScores.apply(rows.reshape(-1, rows.shape[-1]), None if grid is None else grid.to(scores))
        if self.training:
            self._see_(*found)
        return found[0].view(rows.shape[:-1])

    def objective_of(
        self, layer: GMMLayer, x: Tensor, folding: Folding | None, learns: Parts, shared: bool = False
    ) -> tuple[Tensor, Tensor | None]:  # [B, H, W], [B, K, H, W]
        """What is trained of a layer, and its responsibilities; see :meth:`gmcn.nn.GMMLayer.objective`."""
        grid = self.grid
        objective, winners, shares = layer.objective(x, None if grid is None else grid.to(x), folding, learns, shared)
        if self.training and any(learns):  # a window begins with the mixture's turn
            self._see_(objective, winners)
        return objective, shares

    @property
    def _numbers(self) -> Any:
        """The state itself, where possible as numpy's: to take a number out of a tensor takes microseconds."""
        return self.state.numpy() if self.state.device.type == "cpu" else self.state

    @torch.no_grad()
    def _see_(self, objective: Tensor, winners: Tensor) -> None:  # of M positions
        """Add to the running window; in its first step, look at who is best."""
        state = self._numbers
        if state[self.STEPS] == 0:
            self.winners += winners.flatten().bincount(minlength=len(self.winners))
        total, count = objective.sum(dtype=torch.float64), objective.numel()
        if ranks.size() > 1:  # at once: a checkpoint holds the window of one rank
            total, number = ranks.total(torch.stack([total, torch.full_like(total, count)]))
            count = int(number)
        state[self.SUM] += total.item() if total.device.type == "cpu" else total
        state[self.COUNT] += count

    def step_(self, done: float) -> None:
        """After a step; ``done`` is the share of the training that it ends."""
        settings, state = self.settings, self._numbers
        if state[self.STEPS] == 0:
            won = ranks.total(self.winners)
            self.usage.lerp_((won / won.sum().clamp(min=1)).to(self.usage), USAGE)
            self.winners.zero_()
        if settings.controller == "exponential":
            share = min(max((done - FIRST) / (LAST - FIRST), 0.0), 1.0)
            state[self.SIGMA] = self.start * (settings.floor / self.start) ** share
            state[self.RATE] = settings.rate_floor**share
        state[self.STEPS] += 1
        if state[self.STEPS] >= settings.window:
            total, count = self.state[self.SUM : self.COUNT + 1].tolist()
            state[self.SUM : self.STEPS + 1] = 0
            if count and settings.controller in ("ratio", "slope"):
                self.window_(total / count)

    def window_(self, value: float) -> None:
        """After a window whose objective was ``value`` in the mean."""
        settings, state = self.settings, self._numbers
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
