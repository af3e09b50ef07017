"""The stage `draw-fits`: the fits of some objects side by side, as in figures 5 and 6 of the paper."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.artifacts import load_tensors
from gmcn.data.samples import TEST
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.pictures import still
from gmcn.pictures.drawing import extent
from gmcn.pictures.rendering import view_of
from gmcn.pictures.shapes import Shape, checked, mixture_of, pick, sampled

FOOTER = "Mean log-likelihood per point over the training objects; seconds to fit the whole data set."


@dataclass(frozen=True)
class Fit:
    """One way to fit, with its mixture of every object that is drawn."""

    name: str
    mixtures: list[Mixture]  # one per object
    quality: Mapping[str, float]

    def lines(self) -> list[str]:
        """The lines of text under it."""
        lines = [self.name, f"{self.mixtures[0].components} Gaussians"]
        likelihood = self.quality.get("log_likelihood_train")
        if likelihood is not None:
            lines.append(f"log-likelihood {'−' if likelihood < 0 else ''}{abs(likelihood):.3f}")
        seconds = self.quality.get("seconds")
        if seconds is not None:
            lines.append(f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s")
        return lines


def draw_fits(
    *,
    settings: Mapping[str, Any],
    points: str | os.PathLike,
    mixtures: Sequence[str | os.PathLike],
    output: str | os.PathLike,
) -> list[Path]:
    """Write ``output``.png, .svg and .html and return them.

    ``settings``: ``fits``, the names of the ``mixtures`` artifacts in their order; ``shapes``, names or indices of
    the objects (default: the first test object, of images the first of every class); ``up``, the vertical axis of
    clouds (z). ``points`` is the artifact that all of them were fitted to.

    Raises:
        InputError: artifacts of other fits or other objects than these, an object that is not there.
    """
    shapes, rows, names = _objects(Path(points), settings.get("shapes"))
    if len(settings["fits"]) != len(mixtures):
        raise InputError(f"the figure has {len(settings['fits'])} fits, but {len(mixtures)} artifacts were given")
    fits = [_fit(name, Path(path), rows, names) for name, path in zip(settings["fits"], mixtures, strict=True)]
    draw, page = (_images_still, _images_page) if shapes[0].image is not None else (_clouds_still, _clouds_page)
    output, up = Path(output), settings.get("up", "z")
    turnable = output.with_name(f"{output.name}.html")
    written = still.save_both(draw(shapes, fits, up), output)
    page(shapes, fits, up, turnable)
    return [*written, turnable]


def _objects(points: Path, chosen: Sequence[str | int] | None) -> tuple[list[Shape], list[int], list[str]]:
    """The objects to draw, their rows, and the names of all objects."""
    tensors, metadata = load_tensors(points)
    names = metadata["names"]
    if chosen is None:
        tests = (tensors["split"] == TEST).nonzero().squeeze(1).tolist()
        first = {int(tensors["labels"][row]): row for row in reversed(tests)}
        rows = [first[label] for label in sorted(first)] if "images" in tensors else tests[:1]
    else:
        rows = [pick(points, len(names), names, which) for which in chosen]
    return [checked(sampled(points, tensors, names, row), points) for row in rows], rows, names


def _fit(name: str, path: Path, rows: list[int], names: list[str]) -> Fit:
    tensors, metadata = load_tensors(path)
    if metadata.get("fit") != name:
        raise InputError(f"{path} is the fit {metadata.get('fit')}, but the figure wants {name} in its place")
    if metadata.get("names") != names:
        raise InputError(f"{path} was fitted to other objects than the points of the figure; make it again")
    shapes = [checked(Shape(names[row], mixture=mixture_of(tensors, row)), path) for row in rows]
    return Fit(name, [shape.mixture for shape in shapes], metadata.get("quality") or {})


def _box(row: int, shape: Shape, fits: Sequence[Fit]) -> tuple[np.ndarray, np.ndarray]:
    """The box around a cloud and all its mixtures, so that all are shown in one size."""
    return extent(shape.points, *(fit.mixtures[row] for fit in fits))


def _clouds_still(shapes: Sequence[Shape], fits: Sequence[Fit], up: str) -> Any:
    """An object per row: its points, then every fit."""
    columns = 1 + len(fits)
    figure, grid = still.panels(len(shapes), columns, 2.7 * columns, 2.75 * len(shapes) + 0.9)
    for row, (shape, line) in enumerate(zip(shapes, grid, strict=True)):
        view = view_of(*_box(row, shape, fits), up=up, pixels=640)
        for axes, shown in zip(line, [shape, *(fit.mixtures[row] for fit in fits)], strict=True):
            still.solid(axes, view, shown)
        line[0].set_ylabel(shape.name, fontsize=9, parse_math=False)
    under = [["points", f"{len(shapes[0].points):,} per object"], *(fit.lines() for fit in fits)]
    for axes, lines in zip(grid[-1], under, strict=True):
        axes.set_xlabel("\n".join(lines), fontsize=9, linespacing=1.35, parse_math=False)
    figure.supxlabel(FOOTER, fontsize=8, color="0.4")
    return figure


def _images_still(shapes: Sequence[Shape], fits: Sequence[Fit], up: str) -> Any:
    """An object per column: its pixels, then values and ellipses of every fit."""
    lines = 1 + 2 * len(fits)
    figure, grid = still.panels(lines, len(shapes), 1.25 * len(shapes) + 1.5, 1.25 * lines + 0.4)
    for column, shape in enumerate(shapes):
        box, top = still.box_of(shape), _density(shape.image)
        still.pixels(grid[0, column], shape.image)
        for row, fit in enumerate(fits):
            still.values(grid[1 + 2 * row, column], fit.mixtures[column], box, top)
            still.outlines(grid[2 + 2 * row, column], fit.mixtures[column], box)
    under = [["pixels"]]
    for fit in fits:
        under += [fit.lines(), [fit.name, "ellipses"]]
    for axes, text in zip(grid[:, 0], under, strict=True):
        style = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 8, "parse_math": False}
        axes.set_ylabel("\n".join(text), **style)
    figure.supxlabel(FOOTER, fontsize=8, color="0.4")
    return figure


def _density(image: np.ndarray) -> float:
    """The brightest pixel as a share of the whole image: a mixture's values are such shares per pixel."""
    return float(image.max()) / (float(image.sum()) or 1.0)


def _clouds_page(shapes: Sequence[Shape], fits: Sequence[Fit], up: str, path: Path) -> None:
    """A scene per object and fit, all turned together; the points appear when their name is clicked."""
    from plotly.subplots import make_subplots

    from gmcn.pictures import interactive

    titles = [_title([shape.name, *fit.lines()]) for shape in shapes for fit in fits]
    specs = [[{"type": "scene"}] * len(fits)] * len(shapes)
    side, gap = min(380, 1000 // len(fits)), 80  # a scene is as large as its height: a narrow one would be cut off
    height = side * len(shapes) + gap * (len(shapes) - 1)
    gaps = {"horizontal_spacing": 0.01, "vertical_spacing": gap / height}
    figure = make_subplots(len(shapes), len(fits), specs=specs, subplot_titles=titles, **gaps)
    for row, shape in enumerate(shapes):
        box = _box(row, shape, fits)
        for column, fit in enumerate(fits):
            figure.add_trace(interactive.solid_mixture(fit.mixtures[row], up=up), row + 1, column + 1)
            figure.add_trace(interactive.cloud(shape.points, up=up, shown=False), row + 1, column + 1)
            figure.update_scenes(interactive.scene(*box, up), row=row + 1, col=column + 1)
    _finish(figure, 150 + height)
    interactive.write_page(figure, path, f"Fits of {shapes[0].name}", interactive.LINKED)


def _images_page(shapes: Sequence[Shape], fits: Sequence[Fit], up: str, path: Path) -> None:
    """An object per column: its pixels, then every fit's values under its ellipses; all are zoomed together."""
    from plotly.subplots import make_subplots

    from gmcn.pictures import interactive

    rows = 1 + len(fits)
    gaps = {"horizontal_spacing": 0.004, "vertical_spacing": 0.05 / rows}
    figure = make_subplots(rows, len(shapes), **gaps)
    for row, lines in enumerate([["pixels"], *(fit.lines() for fit in fits)]):
        first, *others = (html.escape(line) for line in lines)
        text = "<br>".join([f"<b>{first}</b>", *others])
        place = {"x": 0, "xanchor": "right", "xref": "paper", "y": (rows - row - 0.5) / rows, "yref": "paper"}
        figure.add_annotation(text=text, align="right", showarrow=False, font={"size": 12}, **place)
    for column, shape in enumerate(shapes):
        box, top = still.box_of(shape), _density(shape.image)
        figure.add_trace(interactive.heat(shape.image, box, name="pixels"), 1, column + 1)
        for row, fit in enumerate(fits):
            mixture = fit.mixtures[column]
            figure.add_trace(interactive.flat_values(mixture, box, top=top), row + 2, column + 1)
            figure.add_trace(interactive.flat_ellipses(mixture), row + 2, column + 1)
    figure.update_xaxes(visible=False, matches="x", constrain="domain")
    figure.update_yaxes(visible=False, matches="y", constrain="domain", autorange="reversed")
    figure.update_layout(xaxis_matches=None, yaxis={"matches": None, "scaleanchor": "x"})
    _finish(figure, 140 + 170 * rows, left=150)
    interactive.write_page(figure, path, f"Fits of {shapes[0].name} and others", None)


def _title(lines: Sequence[str]) -> str:
    shape, fit, size, *measured = (html.escape(line) for line in lines)
    under = "<br>".join(filter(None, [size, ", ".join(measured)]))
    return f"{shape}, <b>{fit}</b><br><span style='font-size:12px'>{under}</span>"


def _finish(figure: Any, height: int, left: int = 10) -> None:
    """Below and above all scenes or panels: what the numbers are, and the traces, one for all of its name."""
    seen = set()
    for trace in figure.data:
        trace.update(legendgroup=trace.name, showlegend=trace.name not in seen)
        seen.add(trace.name)
    note = {"text": FOOTER, "x": 0.5, "y": 0, "yshift": -30, "xref": "paper", "yref": "paper", "showarrow": False}
    figure.add_annotation(**note, font={"size": 12, "color": "gray"})
    legend = {"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "itemsizing": "constant"}
    figure.update_layout(height=height, margin={"l": left, "r": 10, "t": 100, "b": 50}, legend=legend)
