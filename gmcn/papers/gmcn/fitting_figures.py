"""Figures about the dense fit alone: where it fails (figure 3), and least squares in its place (figures 7 and 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gmcn import ops
from gmcn.mixture import Mixture
from gmcn.papers.gmcn.least_squares import positions_of, random_mixtures, solve
from gmcn.pictures import still
from gmcn.pictures.drawing import field

SQUARE = (0.0, 1.0, 0.0, 1.0)
SHOWN = 4  # mixtures
PIXELS = 220


def failures() -> Any:
    """Figure 3: the dense fit where the function changes its sign, and under an adverse choice of covariances."""
    crossing = _mixture([1.0, -0.85], [[0.42, 0.5], [0.58, 0.5]], [[0.016, 0.016], [0.016, 0.016]])
    covariances = _mixture([1.0, -0.08], [[0.5, 0.5], [0.56, 0.5]], [[0.03, 0.03], [0.002, 0.002]])
    cases = {"(a) overly smooth zero crossing": crossing, "(b) bad covariances": covariances}
    return _figure(
        [("input", lambda m: _values(m)), ("target", lambda m: _values(m).clip(min=0)), ("dense fit", _heuristic)],
        list(cases.values()),
        list(cases),
    )


def inputs_and_heuristic() -> Any:
    """Figure 7: random mixtures of 256 Gaussians, their rectification and the dense fit of it."""
    mixtures = random_mixtures(SHOWN, 256, 0)
    rows = [("input", lambda m: _values(m)), ("target", lambda m: _values(m).clip(min=0)), ("heuristic", _heuristic)]
    return _figure(rows, _separate(mixtures))


def least_squares() -> Any:
    """Figure 8: the same targets by least squares at four choices of positions, in the colours of the targets."""
    mixtures = random_mixtures(SHOWN, 256, 0)
    generator = torch.Generator().manual_seed(1)
    choices = {
        "D = rand(N, k)": ("random", 1.0),
        "D = rand(2N, k)": ("random", 2.0),
        "D = B": ("centres", 1.0),
        "D = concat(B, rand(N, k))": ("both", 1.0),
    }
    rows = [("target", lambda m: _values(m).clip(min=0))]
    for title, (choice, share) in choices.items():
        rows.append((title, lambda m, c=choice, s=share: _solved(m, c, s, generator)))
    return _figure(rows, _separate(mixtures))


def _figure(rows: list[tuple[str, Any]], mixtures: list[Mixture], titles: list[str] | None = None) -> Any:
    """A mixture per column; every column in the colours of its input, so that overshooting saturates."""
    figure, grid = still.panels(len(rows), len(mixtures), 2.3 * len(mixtures) + 0.5, 2.3 * len(rows) + 0.3)
    for column, mixture in enumerate(mixtures):
        limit = float(np.abs(_values(mixture)).max())
        for row, (title, picture) in enumerate(rows):
            values = picture(mixture)
            still.signed(grid[row, column], values, SQUARE, limit)
            grid[row, column].set_xlabel(f"{values.min():.3g} to {values.max():.3g}", fontsize=8)
            if column == 0:
                grid[row, 0].set_ylabel(title, fontsize=9)
    for axes, title in zip(grid[0], titles or (), strict=False):
        axes.set_title(title, fontsize=10)
    return figure


def _values(mixture: Mixture) -> np.ndarray:
    return field(mixture, SQUARE, PIXELS)


def _heuristic(mixture: Mixture) -> np.ndarray:
    return _values(ops.relu_fit(mixture))


def _solved(mixture: Mixture, choice: str, share: float, generator: torch.Generator) -> np.ndarray:
    batch = mixture.map(lambda tensor: tensor[None])
    fitted = solve(batch, "lstsq", positions_of(batch, choice, generator, share))
    return _values(fitted.map(lambda tensor: tensor[0]))


def _separate(mixtures: Mixture) -> list[Mixture]:
    return [mixtures.map(lambda tensor, i=i: tensor[i]) for i in range(len(mixtures.weights))]


def _mixture(weights: list[float], positions: list[list[float]], variances: list[list[float]]) -> Mixture:
    return Mixture(torch.tensor(weights), torch.tensor(positions), torch.diag_embed(torch.tensor(variances)))
