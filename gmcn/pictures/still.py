"""Panels of still pictures (.png and .svg), drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gmcn.artifacts import atomic
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import PLAIN, bounds, ellipses, field, visible
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


def sampled(axes, shape: Shape, box: tuple[float, float, float, float]) -> None:
    """In 2D: an image, as it is, but beside a mixture dark where it is bright, as the values are; or a cloud."""
    if shape.image is not None:
        pixels(axes, shape.image, colours="gray" if shape.mixture is None else "gray_r")
    else:
        axes.plot(*some_points(shape.points).T, ".", markersize=2, color="#30508c")
        frame(axes, box)


def pixels(axes, image: np.ndarray, top: float | None = None, colours: str = "gray_r") -> None:
    """An image [H, W] on [0, W] x [0, H], y downwards, from 0 (or its least) to ``top``, which is black in gray_r."""
    height, width = image.shape
    top = top or float(image.max()) or 1.0
    image = thumbnail(image)
    limits = {"vmin": min(0.0, float(image.min())), "vmax": top}
    axes.imshow(image, cmap=colours, **limits, extent=(0, width, height, 0), interpolation="nearest")
    bare(axes)


def values(axes, mixture: Mixture, box: tuple[float, float, float, float], top: float | None = None) -> None:
    """The values of a mixture [N] of dimension 2 in (left, right, top, bottom)."""
    left, right, upper, lower = box
    fine = 160 / max(right - left, lower - upper)
    shown = field(mixture, box, (max(1, round((lower - upper) * fine)), max(1, round((right - left) * fine))))
    limit = top or float(np.abs(shown).max()) or 1.0
    signed = bool((mixture.weights < 0).any())
    axes.imshow(
        shown,
        extent=(left, right, lower, upper),
        cmap="RdBu_r" if signed else "gray_r",
        vmin=-limit * signed,
        vmax=limit,
    )
    bare(axes)


def outlines(axes, mixture: Mixture, box: tuple[float, float, float, float]) -> None:
    """The ellipses of a mixture [N] of dimension 2, filled the more the heavier."""
    from matplotlib.collections import PolyCollection

    mixture = fewer_gaussians(mixture)
    weights = mixture.weights.abs().numpy()
    colours = np.where(mixture.weights.numpy()[:, None] < 0, (0.70, 0.20, 0.20), (0.14, 0.33, 0.55))
    opacity = 0.08 + 0.5 * weights / weights.max()
    faces = np.concatenate([colours, opacity[:, None]], -1)
    axes.add_collection(
        PolyCollection(list(ellipses(mixture)), facecolors=faces, edgecolors=colours, linewidths=0.4, clip_on=False)
    )
    frame(axes, box)


def box_of(shape: Shape) -> tuple[float, float, float, float]:
    """(left, right, top, bottom) of a shape in 2D: its image, or what its ellipses and points cover."""
    if shape.image is not None:
        height, width = shape.image.shape
        return 0.0, float(width), 0.0, float(height)
    covered = [] if shape.mixture is None else [bounds(visible(shape.mixture), 3.0)]
    covered += [] if shape.points is None else [np.stack([shape.points.min(0), shape.points.max(0)])]
    low, high = np.min(covered, axis=(0, 1)), np.max(covered, axis=(0, 1))
    margin = 0.03 * max(high - low) or 1.0
    return low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin


def frame(axes, box: tuple[float, float, float, float]) -> None:
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
