"""How good fits are: likelihood of the points, and components without mass or extent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.fitting.em import em
from gmcn.fitting.points import map_chunks, unit_frame
from gmcn.mixture import Mixture

# Numbers in the largest tensor of a chunk (points x components x shapes).
_CHUNK = 1 << 20


def log_likelihood(
    mixture: Mixture,  # [S, N]
    points: Tensor,  # [S, M, D]
    mass: Tensor,  # [S, M]
) -> Tensor:  # [S]
    """Mean log-density of each shape's points, weighted by their mass, in the points' units; float64."""
    size = max(1, _CHUNK // (points.shape[1] * mixture.components))

    def judge(start: int) -> Tensor:
        rows = slice(start, start + size)
        x, share = points[rows].double(), mass[rows].double()
        centre, side = unit_frame(x, share)
        part = mixture.map(lambda tensor: tensor[rows].double())
        part = Mixture(part.weights, (part.positions - centre) / side, part.covariances / side.square()[..., None])
        share = share / share.sum(-1, keepdim=True)
        # What one step of EM says of the mixture that it begins with.
        *_, likelihood = em((x - centre) / side, share, part, 1.0, 1)
        return likelihood - mixture.dim * side[:, 0, 0].log()

    return torch.cat(list(map_chunks(judge, range(0, points.shape[0], size), points.device)))


def components_without_extent(
    mixture: Mixture,  # [S, N]
    side: Tensor,  # [S]
    floor: float,
) -> tuple[Tensor, Tensor, Tensor]:  # [S, N] each
    """Which components have no mass; are flat, their thinnest direction mostly the floor; are points, all directions
    mostly the floor. ``side`` is the longest side of the points' bounding box, ``floor`` as in ``fit_points``."""
    empty = mixture.weights <= 0
    extent = torch.linalg.eigvalsh(mixture.covariances.double() / side.double().square()[:, None, None, None])
    return empty, (extent[..., 0] < 2 * floor) & ~empty, (extent[..., -1] < 2 * floor) & ~empty


def summarise(
    likelihood: Tensor,  # [S]
    empty: Tensor,  # [S]
    flat: Tensor,  # [S]
    pointlike: Tensor,  # [S]
    split: Tensor,  # [S]
) -> dict[str, float]:
    """Means over the shapes, and of the likelihood over training and test shapes apart.

    Raises:
        InputError: a mean that is not finite.
    """
    quality = {
        "empty_share": empty.mean().item(),
        "floored_share": flat.mean().item(),
        "degenerate_share": pointlike.mean().item(),
    }
    for value, part in ((0, "train"), (1, "test")):
        if (split == value).any():
            quality[f"log_likelihood_{part}"] = likelihood[split == value].mean().item()
    if not all(math.isfinite(value) for value in quality.values()):
        raise InputError(f"the fit is not finite ({quality}); raise covariance_floor")
    return quality
