"""Partial views of clouds: of each the part on one side of a plane, some of its points, and noise on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from gmcn.declared import above, at_least, at_most, read
from gmcn.errors import InputError

FEWEST = 8  # points that a view keeps, at least
SEED = 0  # of what is judged by, the same for all objects
_WHERE = "training.views"
Share = Annotated[float, above(0), at_most(1), "A share."]


@dataclass(frozen=True)
class Views:
    """What a network sees of each cloud, anew whenever it is looked at."""

    points: Annotated[int, at_least(FEWEST), "Points that are seen: a random choice among those that are kept."] = 512
    coverage: Annotated[
        tuple[Share, Share],
        "Smallest and largest share of the points that a plane of random direction keeps, drawn uniformly; [1, 1]: "
        "whole clouds.",
    ] = (1.0, 1.0)
    noise: Annotated[
        float, at_least(0), "Standard deviation of the noise on each coordinate of a seen point, in units of the data."
    ] = 0.0

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = _WHERE) -> Views:
        """Settings from a mapping; raises :class:`InputError` for unknown names and impossible values."""
        if isinstance(values, Mapping):
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        views = read(cls, values, where)
        if views.coverage[0] > views.coverage[1]:
            raise InputError(f"{where}: 'coverage' is {list(views.coverage)}, but must have the smaller one first")
        return views


class Planes(NamedTuple):
    """One plane for each cloud: a point x is kept where normal · x > offset."""

    normals: Tensor  # [B, 3], of length one
    offsets: Tensor  # [B], minus infinity where all is kept

    def heights(self, points: Tensor) -> Tensor:  # [B, M, 3] -> [B, M] float64
        """How far points lie beyond the plane of their cloud; positive where they are kept."""
        return (points.double() * self.normals[:, None]).sum(-1) - self.offsets[:, None]


class Seen(NamedTuple):
    """Views of clouds: ``points`` are seen, ``kept`` says which points of the cloud lie beyond its plane."""

    points: Tensor  # [B, P, 3]
    kept: Tensor  # [B, M] bool
    planes: Planes


def view(
    points: Tensor,  # [B, M, 3]
    views: Views,
    generator: torch.Generator,
) -> Tensor:  # [B, P, 3]
    """The points that are seen of each cloud: those of :func:`look`."""
    return look(points, views, generator).points


def look(
    points: Tensor,  # [B, M, 3]
    views: Views,
    generator: torch.Generator,
) -> Seen:
    """A view of each cloud, by random numbers from ``generator``, which is one of the CPU.

    The plane's direction is uniform on the sphere. It keeps exactly round(coverage M) points, those that lie farthest
    in its direction, and passes half-way between the last of them and the next. Of these P = ``views.points`` are
    seen, in random order: a choice without replacement, and where there are fewer all of them, again and again. Each
    seen point has noise of its own.

    As many numbers are drawn whatever is switched on: one setting does not change what another one does.

    Raises:
        InputError: a cloud whose points are all equal or not all finite, or of which fewer than 8 points may be kept.
    """
    _check(points, views)
    batch, count = points.shape[:2]
    kind = {"dtype": torch.float64, "generator": generator}
    directions = torch.nn.functional.normalize(torch.randn(batch, 3, **kind), dim=-1)
    shares, chances = torch.rand(batch, **kind), torch.rand(batch, count, **kind)
    noise = torch.randn(batch, views.points, 3, **kind)
    least, most = views.coverage
    sizes = ((least + (most - least) * shares) * count).round().long().to(points.device)  # [B]
    planes = Planes(directions.to(points.device), points.new_zeros(batch, dtype=torch.float64))
    heights, order = planes.heights(points).sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(count, device=points.device)
    kept = torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order, ranks < sizes[:, None])
    beside = heights.gather(-1, torch.stack([sizes - 1, sizes.clamp(max=count - 1)], -1)).mean(-1)
    planes = planes._replace(offsets=torch.where(sizes < count, beside, -torch.inf))
    shuffled = torch.where(kept, chances.to(points.device), torch.inf).argsort(-1)
    places = torch.arange(views.points, device=points.device) % sizes[:, None]
    chosen = shuffled.gather(-1, places)[..., None].expand(-1, -1, 3)
    return Seen(points.gather(1, chosen) + views.noise * noise.to(points), kept, planes)


def _check(points: Tensor, views: Views) -> None:
    if points.dim() != 3 or points.shape[2] != 3:
        raise InputError(f"the points of views are {list(points.shape)}, but must be clouds [B, M, 3]")
    count, least = points.shape[1], views.coverage[0]
    if round(least * count) < FEWEST:
        raise InputError(
            f"a view at coverage {least:g} keeps {round(least * count)} of a cloud's {count} points, but must keep at "
            f"least {FEWEST}; give clouds of more points, or a larger coverage"
        )
    for bad, fault in (
        (~points.isfinite().flatten(1).all(1), "has a point that is not finite"),
        ((points == points[:, :1]).flatten(1).all(1), "has all its points in one place"),
    ):
        if bad.any():
            raise InputError(
                f"cloud {int(bad.nonzero()[0])} (from 0) of {len(points)} {fault}; there is no view of it: repair it "
                "or leave it out"
            )


def parted(points: Tensor, seen: int) -> tuple[Tensor, Tensor]:  # [B, M, 3] -> [B, V, 3], [B, M - V, 3]
    """The points that are seen and the others, where nothing is trained: by one fixed permutation of the rows.

    Files may have their points in any order, and the first of a scan are one part of the object.
    """
    order = torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(SEED)).to(points.device)
    return points[:, order[:seen]], points[:, order[seen:]]
