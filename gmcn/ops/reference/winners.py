"""What training a mixture's objective takes: the best score of each position, and sums over those that each wins."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]


def best_scores(
    scores: Tensor,  # [M, K]
    grid: Tensor | None = None,  # [K, K]
) -> tuple[Tensor, Tensor]:  # [M], [M]
    """The largest of G s in each row, or of s without a grid G, and the first component that has it."""
    values, winners = (scores if grid is None else scores @ grid.mT).max(1)
    return values, winners


def best_and_shares(
    scores: Tensor,  # [M, K]; overwritten
    grid: Tensor | None,  # [K, K]
    least: float,
) -> tuple[Tensor, Tensor]:  # [M], [M]
    """The same, while scores become responsibilities, of which those below ``least`` become 0."""
    found = best_scores(scores, grid)
    scores.copy_(functional.threshold(scores.softmax(1), least, 0.0))
    return found


def sums_by_winner(
    x: Tensor,  # [B, C, H, W]
    winners: Tensor,  # [B, H', W']
    slopes: Tensor,  # [B, H', W']
    components: int,
    kernel: Pair = (1, 1),
    stride: Pair = (1, 1),
    *,
    squares: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # [K], [K, C fy fx], [K or 0, C fy fx]
    """Sums over the positions that each component wins: of slopes, and of those times what a window there sees."""
    reach = [(n - 1) * d + k for n, d, k in zip(winners.shape[1:], stride, kernel, strict=True)]
    seen = functional.unfold(x[:, :, : reach[0], : reach[1]], kernel, stride=stride).mT.flatten(0, 1)  # [M, C fy fx]
    shares = functional.one_hot(winners.flatten(), components).to(x) * slopes.flatten()[:, None]  # [M, K]
    of_squares = shares.mT @ seen.square() if squares else seen.new_empty(0, seen.shape[1])
    return shares.sum(0), shares.mT @ seen, of_squares
