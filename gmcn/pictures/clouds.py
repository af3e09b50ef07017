"""Many clouds or mixtures in one picture, or on one page to turn: side by side, all in the same size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gmcn.mixture import Mixture
from gmcn.pictures import still
from gmcn.pictures.drawing import extent, height_colours
from gmcn.pictures.rendering import Picture, view_of
from gmcn.pictures.thinning import some_points

PIXELS = 240  # of a cloud in a picture
ROOM = 1.3  # between middles, over the extent of the largest cloud
FEW = 0.2  # percent of the points of a picture that may lie outside, along each axis and way
RADIUS = 0.018  # of a point, over half of that extent
NEAR, FAR = 2.5, 1.6  # pixels of a point on a page, of few clouds and of many
BLUE, RED = (0.19, 0.31, 0.55), (0.85, 0.35, 0.2)  # of two clouds: what is given or stays, and what is made or moves
Clouds = Sequence[np.ndarray]  # of [M, 3], or an array [N, M, 3]


def spread(clouds: Clouds, columns: int | None = None) -> list[np.ndarray]:
    """The clouds side by side, row by row from the back to the front, on a square or in so many columns."""
    columns = columns or math.ceil(math.sqrt(len(clouds)))
    step = ROOM * np.ptp(np.concatenate(clouds), axis=0).max()
    return [cloud + step * np.array([place % columns, -(place // columns), 0]) for place, cloud in enumerate(clouds)]


def together(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [M, 3], [M', 3] -> [M + M', 3] each
    """Two clouds as one, the first in blue and the second in red: points and colours."""
    return np.concatenate([one, two]), np.repeat([BLUE, RED], [len(one), len(two)], 0)


def group_colours(groups: np.ndarray, count: int) -> np.ndarray:  # [...] -> [..., 3]
    """A colour for each of ``count`` groups; neighbours by number, as the leaves of one branch, have like ones."""
    from matplotlib.colors import hsv_to_rgb

    hues = np.arange(count) / count
    shades = 0.65 + 0.35 * (np.arange(count) * 0.618 % 1)
    return hsv_to_rgb(np.stack([hues, np.full(count, 0.75), shades], -1))[groups]


def draw_clouds(
    clouds: Clouds,
    path: Path,
    colours: Clouds | None = None,  # of the points, by default by height
    columns: int | None = None,
    titles: Sequence[str] | None = None,
) -> Path:
    """Write a .png or .svg with a panel for each cloud, or an .html page with all of them on one square.

    Of a large cloud some points are drawn (:func:`some_points`). On a page, clouds with ``titles`` are switched on and
    off by them.
    """
    clouds = [some_points(cloud) for cloud in clouds]
    colours = None if colours is None else [some_points(own) for own in colours]  # the same rows
    if path.suffix.lower() == ".html":
        return _page(clouds, path, colours, columns, titles)
    columns = columns or math.ceil(math.sqrt(len(clouds)))
    rows = math.ceil(len(clouds) / columns)
    figure, grid = still.panels(rows, columns, 1.7 * columns, 1.7 * rows)
    view = view_of(*_box(clouds), pixels=PIXELS)
    for place, axes in enumerate(grid.flat):
        if place >= len(clouds):
            axes.set_axis_off()
            continue
        picture = Picture(view)
        picture.add_points(clouds[place], RADIUS * view.radius, None if colours is None else colours[place])
        axes.imshow(picture.image(), interpolation="antialiased")
        still.bare(axes)
        if titles:
            axes.set_title(titles[place], fontsize=7, parse_math=False)
    still.save(figure, path)
    return path


def draw_mixtures(mixtures: Sequence[Mixture], path: Path) -> Path:  # of [N], D = 3
    """Write a .png or .svg with the ellipsoids of each mixture in a panel, or an .html page with all in a row."""
    low, high = extent(None, *mixtures)
    if path.suffix.lower() == ".html":
        step = ROOM * float((high - low).max())
        shifts = [torch.tensor([step * place, 0.0, 0.0]) for place in range(len(mixtures))]
        moved = [one._replace(positions=one.positions + shift) for one, shift in zip(mixtures, shifts, strict=True)]
        return _mixture_page(moved, path, (low, high + np.array([step * (len(mixtures) - 1), 0, 0])))
    figure, grid = still.panels(1, len(mixtures), 2.6 * len(mixtures), 2.8)
    view = view_of(low, high, pixels=2 * PIXELS)
    for mixture, axes in zip(mixtures, grid[0], strict=True):
        picture = Picture(view)
        picture.add_ellipsoids(mixture)
        axes.imshow(picture.image(), interpolation="antialiased")
        still.bare(axes)
        axes.set_title(f"{mixture.components} Gaussians", fontsize=9)
    still.save(figure, path)
    return path


def _box(clouds: Clouds) -> tuple[np.ndarray, np.ndarray]:  # [3], [3]
    """That of all points but the outermost few, which would make all others small."""
    low, high = np.percentile(np.concatenate(clouds), [FEW, 100 - FEW], axis=0)
    return low, high


def _mixture_page(mixtures: Sequence[Mixture], path: Path, box: tuple[np.ndarray, np.ndarray]) -> Path:
    from gmcn.pictures import interactive

    traces = [interactive.solid_mixture(mixture, subdivisions=2) for mixture in mixtures]
    for trace, mixture in zip(traces, mixtures, strict=True):
        trace.name = f"{mixture.components} Gaussians"
    return _write(traces, box, path, f"{len(mixtures)} mixtures")


def _page(
    clouds: Clouds, path: Path, colours: Clouds | None, columns: int | None, titles: Sequence[str] | None
) -> Path:
    from gmcn.pictures import interactive

    shades = colours or [height_colours(cloud) for cloud in clouds]
    moved = spread(clouds, columns)
    # Clouds with names are switched on and off by them; all others are one, which a browser turns faster.
    parts = zip(moved, shades, strict=True) if titles else [(np.concatenate(moved), np.concatenate(shades))]
    size = NEAR if len(clouds) <= 4 else FAR
    traces = [interactive.cloud(points, colours=own, size=size) for points, own in parts]
    for trace, title in zip(traces, titles or (), strict=False):
        trace.name = title
    points = np.concatenate(moved)
    return _write(traces, (points.min(0), points.max(0)), path, ", ".join(titles or [f"{len(clouds)} clouds"]))


def _write(traces: Sequence[Any], box: tuple[np.ndarray, np.ndarray], path: Path, title: str) -> Path:
    from plotly import graph_objects

    from gmcn.pictures import interactive

    figure: Any = graph_objects.Figure(data=list(traces))
    figure.update_layout(
        title={"text": title, "x": 0.5, "font": {"size": 16}},
        scene=interactive.scene(*box),
        margin={"l": 0, "r": 0, "t": 44, "b": 0},
        showlegend=len(traces) > 1,
        legend={"x": 0.01, "y": 0.99, "itemsizing": "constant"},
    )
    interactive.write_page(figure, path, title)
    return path
