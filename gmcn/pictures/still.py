"""Panels of still pictures (.png and .svg), drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gmcn.artifacts import atomic
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import PLAIN, Box, ellipses, field
from gmcn.pictures.rendering import Picture, View
from gmcn.pictures.shapes import Shape
from gmcn.pictures.thinning import fewer_gaussians, some_points, thumbnail

DOTS_PER_INCH = 160


def solid(axes, view: View, shown: Mixture | Shape) -> None:
    """In 3D: a mixture [N] as ellipsoids, a mesh, or a cloud as small spheres."""
    picture = Picture(view)
    if isinstance(shown, Mixture):
        picture.add_ellipsoids(fewer_gaussians(shown))
    elif shown.triangles is not None:
        picture.add_mesh(shown.points, shown.triangles, PLAIN)
    else:
        points = some_points(shown.points)
        # Few are to be seen, and those that stand for many close the surface.
        size = 0.012 if len(points) < 4000 else 0.006 if len(points) == len(shown.points) else 0.009
        picture.add_points(points, size * view.radius)
    axes.imshow(picture.image(), interpolation="antialiased")
    bare(axes)


def sampled(axes, shape: Shape, box: Box) -> None:
    """In 2D: an image, as it is, but beside a mixture dark where it is bright, as the values are; or a cloud."""
    if shape.image is not None:
        pixels(axes, shape.image, colours="gray" if shape.mixture is None else "gray_r")
    else:
        axes.plot(*some_points(shape.points).T, ".", markersize=2, color="#30508c")
        frame(axes, box)


def pixels(axes, image: np.ndarray, colours: str = "gray_r") -> None:
    """An image [H, W] on [0, W] x [0, H], y downwards, from 0 (or its least) to its largest, black in gray_r."""
    height, width = image.shape
    top = float(image.max()) or 1.0
    image = thumbnail(image)
    _raster(axes, image, (0, width, 0, height), colours, min(0.0, float(image.min())), top, interpolation="nearest")


def values(axes, mixture: Mixture, box: Box, top: float | None = None) -> None:
    """The values of a mixture [N] of dimension 2."""
    shown = field(mixture, box, 160)
    limit = top or float(np.abs(shown).max()) or 1.0
    if (mixture.weights < 0).any():
        signed(axes, shown, box, limit)
    else:
        _raster(axes, shown, box, "gray_r", 0.0, limit)


def signed(axes, values: np.ndarray, box: Box, limit: float | None = None) -> None:
    """Values on a grid in red and blue, white where they are zero."""
    limit = limit or float(np.abs(values).max()) or 1.0
    _raster(axes, values, box, "RdBu_r", -limit, limit)


def _raster(axes, values: np.ndarray, box: Box, colours: str, low: float, high: float, **options) -> None:
    left, right, top, bottom = box
    axes.imshow(values, extent=(left, right, bottom, top), cmap=colours, vmin=low, vmax=high, **options)
    bare(axes)


def outlines(axes, mixture: Mixture, box: Box) -> None:
    """The ellipses of a mixture [N] of dimension 2, filled the more the heavier."""
    from matplotlib.collections import PolyCollection

    mixture = fewer_gaussians(mixture)
    weights = mixture.weights.abs().numpy()
    colours = np.where(mixture.weights.numpy()[:, None] < 0, (0.70, 0.20, 0.20), (0.14, 0.33, 0.55))
    opacity = 0.08 + 0.5 * weights / weights.max()
    faces = np.concatenate([colours, opacity[:, None]], -1)
    style = {"facecolors": faces, "edgecolors": colours, "linewidths": 0.4, "clip_on": False}
    axes.add_collection(PolyCollection(list(ellipses(mixture)), **style))
    frame(axes, box)


def box_of(shape: Shape) -> Box:
    """The box of a shape in 2D: of its image, or around its ellipses and points."""
    if shape.image is not None:
        height, width = shape.image.shape
        return 0.0, float(width), 0.0, float(height)
    low, high = shape.extent(deviations=3.0)
    margin = 0.03 * max(high - low) or 1.0
    return low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, np.ndarray]:
    """An empty figure, so many inches in size, and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def frame(axes, box: Box) -> None:
    axes.set_xlim(box[0], box[1])
    axes.set_ylim(box[3], box[2])
    axes.set_aspect("equal")
    bare(axes)


def bare(axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def save(figure, path: Path) -> None:
    """Write .png or .svg by the path's suffix; the same picture is the same file."""
    import matplotlib

    form = path.suffix[1:].lower()
    metadata = {"Date": None} if form == "svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": "gmcn"}), atomic(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format=form, metadata=metadata, facecolor="white")


def save_both(figure, output: Path) -> list[Path]:
    """Write ``output``.png and .svg and return them."""
    written = [output.with_name(f"{output.name}.{form}") for form in ("png", "svg")]
    for path in written:
        save(figure, path)
    return written
