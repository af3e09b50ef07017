"""The command `show`: look at a cloud, a mesh, an image or a mixture out of any file."""

from __future__ import annotations

import contextlib
import html
import logging
import os
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from gmcn.errors import InputError, extras
from gmcn.pictures import still
from gmcn.pictures.rendering import view_of
from gmcn.pictures.shapes import Shape, read_shape
from gmcn.pictures.thinning import remark

_LOG = logging.getLogger(__name__)
FORMATS = (".html", ".png", ".svg")


@extras()
def show(
    file: str | os.PathLike,
    *,
    index: int | None = None,
    name: str | None = None,
    points: Path | None = None,
    output: str | os.PathLike | None = None,
    up: str = "z",
    drop_not_finite: bool = False,
) -> Path:
    """Draw one object of ``file`` (see :func:`gmcn.pictures.shapes.read_shape`) and return where it was written.

    Of large objects as much is drawn as one can see, and picture and log say how much.

    The suffix of ``output`` decides: .html is a page to turn it on, .png and .svg are still. Without ``output`` the
    page is a temporary file, and opened where there is a display. ``up`` is the axis that points upwards in 3D.

    Raises:
        InputError: another suffix, and everything that cannot be read.
    """
    if output is not None and Path(output).suffix.lower() not in FORMATS:
        raise InputError(f"cannot write {output}: its name must end in one of {', '.join(FORMATS)}")
    shape = read_shape(Path(file), index=index, name=name, points=points, drop_not_finite=drop_not_finite)
    page = output is None or Path(output).suffix.lower() == ".html"
    if said := remark(shape, page):
        _LOG.info("%s is large; %s", file, said)
    if output is not None:
        (draw_page if page else draw_still)(shape, Path(output), up)
        return Path(output)
    handle, temporary = tempfile.mkstemp(prefix=f"gmcn-{Path(file).stem}-", suffix=".html")
    os.close(handle)
    draw_page(shape, Path(temporary), up)
    if _has_display():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(Path(temporary).as_uri())
    return Path(temporary)


def title_of(shape: Shape, page: bool = False) -> str:
    """The object's name, what is known of it, and how much of it is drawn, on a ``page`` or in a still picture."""
    # Names of files need not be UTF-8, pictures' titles must.
    parts = [shape.name.encode(errors="surrogateescape").decode(errors="replace")]
    if shape.mixture is not None:
        parts.append(f"{shape.mixture.components:,} Gaussians" + (f" ({shape.fit})" if shape.fit else ""))
    elif shape.triangles is not None:
        parts.append(f"{len(shape.triangles):,} triangles")
    elif shape.points is not None:
        parts.append(f"{len(shape.points):,} points")
    else:
        parts.append(f"{shape.image.shape[1]} x {shape.image.shape[0]} pixels")
    said = remark(shape, page)
    return ", ".join(parts) + (f"\n({said})" if said else "")


def is_flat(shape: Shape) -> bool:
    """True if the object is in 2D."""
    if shape.mixture is not None:
        return shape.mixture.dim == 2
    return shape.image is not None or shape.points.shape[1] == 2


def draw_page(shape: Shape, path: Path, up: str = "z") -> None:
    """Write a page to turn the object on; what belongs together is switched on and off by its name."""
    from plotly import graph_objects

    from gmcn.pictures import interactive

    title = title_of(shape, True)
    figure = graph_objects.Figure(data=_flat(shape) if is_flat(shape) else _solid(shape, up))
    figure.update_layout(
        title={"text": html.escape(title).replace("\n", "<br>"), "x": 0.5, "font": {"size": 16}},
        margin={"l": 0, "r": 0, "t": 44, "b": 0},
        legend={"x": 0.01, "y": 0.99, "itemsizing": "constant"},
    )
    if is_flat(shape):
        figure.update_xaxes(visible=False, constrain="domain")
        figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    else:
        figure.update_layout(scene=interactive.scene(*shape.extent(), up))
    interactive.write_page(figure, path, title)


def _solid(shape: Shape, up: str) -> list[Any]:
    from gmcn.pictures import interactive

    if shape.triangles is not None:
        return [interactive.solid_mesh(shape.points, shape.triangles, up=up)]
    traces = []
    if shape.mixture is not None:
        fine = 2 if shape.mixture.components <= 200 else 1
        traces.append(interactive.solid_mixture(shape.mixture, up=up, subdivisions=fine))
    if shape.points is not None:
        traces.append(interactive.cloud(shape.points, up=up, shown=shape.mixture is None))
    return traces


def _flat(shape: Shape) -> list[Any]:
    from gmcn.pictures import interactive

    box, traces = still.box_of(shape), []
    if shape.mixture is not None:
        traces.append(interactive.flat_values(shape.mixture, box))
    if shape.image is not None:
        alone = shape.mixture is None  # then as it is, else as the values are drawn
        colours = "Greys_r" if alone else "Greys"
        traces.append(interactive.heat(shape.image, box, name="pixels", shown=alone, colours=colours))
    if shape.mixture is not None:
        traces.append(interactive.flat_ellipses(shape.mixture))
    if shape.points is not None:
        traces.append(interactive.cloud(shape.points, shown=shape.mixture is None))
    return traces


def draw_still(shape: Shape, path: Path, up: str = "z") -> None:
    """Write a still picture: the mixture, and beside it the points or image that it was fitted to, if known."""
    sampled = Shape(shape.name, shape.points, shape.triangles, shape.image)
    if is_flat(shape):
        box = still.box_of(shape)
        panels = [(title_of(sampled), still.sampled, (shape, box))] if _is_sampled(shape) else []
        if shape.mixture is not None:
            panels += [("values", still.values, (shape.mixture, box))]
            panels += [(title_of(shape), still.outlines, (shape.mixture, box))]
    else:
        view = view_of(*shape.extent(), up=up, pixels=720)
        panels = [(title_of(sampled), still.solid, (view, sampled))] if _is_sampled(shape) else []
        if shape.mixture is not None:
            panels += [(title_of(shape), still.solid, (view, shape.mixture))]
    figure, grid = still.panels(1, len(panels), 4.6 * len(panels), 4.9)
    for axes, (title, draw, arguments) in zip(grid[0], panels, strict=True):
        draw(axes, *arguments)
        axes.set_title(title, fontsize=10, parse_math=False)
    still.save(figure, path)


def _is_sampled(shape: Shape) -> bool:
    return shape.points is not None or shape.image is not None


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
