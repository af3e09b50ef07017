"""Closed-form fits of a stack of mixtures, one after the other: k-means as a start, and EM instead of gradients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from gmcn.fitting import MixtureEstimator
from gmcn.nn.gmm_layer import GMMLayer
from gmcn.nn.gmm_stack import GMMStack

log = logging.getLogger(__name__)

PATCHES = 200_000  # at most, that a mixture is fitted to which all positions share
ROUNDS = 10  # iterations of k-means, and of EM in mixtures below the last
BATCH = 500  # bounds memory


def cluster(stack: GMMStack, values: Tensor, seed: int) -> None:  # [B, C, H, W]
    """Move the centroids of each mixture to the clusters of k-means."""
    for layer, seen in _seen(stack, values, seed):
        for place, points in enumerate(seen):
            estimator = MixtureEstimator(
                layer.components, "kmeans", covariance="diagonal", seed=seed, iterations=ROUNDS
            )
            layer.means[_own(layer, place)] = estimator.fit(points).mixture.means


def fit(
    stack: GMMStack,
    values: Tensor,  # [B, C, H, W]
    iterations: int,
    seed: int,
    progress: Callable[[int, float], object],
) -> None:
    """EM of each mixture from the clusters of k-means; ``progress`` is told of the last one and its losses."""
    for number, (layer, seen) in enumerate(_seen(stack, values, seed), 1):
        last = layer is stack.mixtures[-1]
        said = number, len(stack.mixtures), layer.components, *seen.shape[:2]
        log.info("mixture %d of %d: %d components at %d places, each from %d points", *said)
        family = {"covariance": "low-rank", "rank": layer.rank} if layer.rank else {"covariance": "diagonal"}
        rounds = iterations if last else min(ROUNDS, iterations)
        for place, points in enumerate(seen):
            estimator = MixtureEstimator(
                layer.components, seed=seed, floor=1 / layer.cap, iterations=rounds, tolerance=0, **family
            )

            def told(iteration: int, log_likelihood: Tensor, place: int = place, estimator: Any = estimator) -> None:
                layer.take_(estimator.mixture, _own(layer, place))  # noqa: B023  (called in this round)
                progress(iteration, -float(log_likelihood))

            more: Any = {"progress": told} if last and place + 1 == len(seen) else {}
            layer.take_(estimator.fit(points, **more).mixture, _own(layer, place))


def _own(layer: GMMLayer, place: int) -> Any:
    """Where the parameters of a position lie."""
    return ... if layer.positions is None else place


def _seen(stack: GMMStack, values: Tensor, seed: int) -> Iterator[tuple[GMMLayer, Tensor]]:  # [P, M, C]
    """Each mixture, and what it sees with the present parameters of those below; P is 1 where positions share it."""
    generator = torch.Generator().manual_seed(seed)
    for number, layer in enumerate(stack.mixtures):
        rows, columns = stack.positions(number)
        images = len(values) if layer.positions else max(1, PATCHES // (rows * columns))
        chosen = torch.randperm(len(values), generator=generator)[:images].to(values.device)
        parts = [stack.seen(part, number).flatten(2).permute(2, 0, 1) for part in values[chosen].split(BATCH)]
        seen = torch.cat(parts, 1)
        yield layer, seen if layer.positions else seen.flatten(0, 1)[None]
