"""Pages to turn shapes on (.html), drawn with plotly; everything is in the page, so that it works offline."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
from plotly import graph_objects

from gmcn.artifacts import write_text
from gmcn.mixture import Mixture
from gmcn.pictures.drawing import AXES, PLAIN, Box, component_colours, ellipses, ellipsoids, field, height_colours
from gmcn.pictures.thinning import coarse, fewer_gaussians, some_points, thumbnail

_LIGHTING = {"ambient": 0.4, "diffuse": 0.75, "specular": 0.1, "roughness": 0.6, "fresnel": 0.05}
# In plotly's axes of the viewer (left, up, away): over the left shoulder, also after turning.
_LIGHT_POSITION = {"x": 7e4, "y": 9e4, "z": -4e4}
# For z upwards: where the first look is from, the same as View's.
_EYE = (1.06, -1.36, 0.70)
# Of more Gaussians each is drawn by a few triangles, and a pointer says nothing of them: that is most of a page.
_MANY = 1000
# Turns all scenes of a page when one of them is turned.
LINKED = """
const page = document.getElementById('{plot_id}');
const scenes = Object.keys(page.layout).filter(key => key.startsWith('scene'));
let turning = false;
page.on('plotly_relayout', change => {
  const key = Object.keys(change).find(key => key.endsWith('.camera'));
  if (turning || !key) return;
  turning = true;
  const others = scenes.filter(scene => scene !== key.split('.')[0]);
  const update = Object.fromEntries(others.map(scene => [scene + '.camera', change[key]]));
  Plotly.relayout(page, update).then(() => { turning = false; });
});
"""


def solid_mixture(mixture: Mixture, *, up: str = "z", subdivisions: int = 1) -> Any:
    """The ellipsoids of a mixture [N] of dimension 3 as one surface; a pointer on one of them shows its weight."""
    weights = mixture.weights.tolist()
    mixture = fewer_gaussians(mixture)
    count, many = mixture.components, mixture.components > _MANY
    vertices, triangles = ellipsoids(mixture, subdivisions=0 if many else subdivisions)  # [N, V, 3], [T, 3]
    corners = vertices.shape[1]
    labels = [f"Gaussian {index}<br>weight {weight:.4g}" for index, weight in enumerate(weights) if weight != 0]
    merged = (triangles + corners * np.arange(count)[:, None, None]).reshape(-1, 3)
    return graph_objects.Mesh3d(
        **_coordinates(vertices.reshape(-1, 3)),
        **_corners(merged),
        vertexcolor=np.repeat(_hex(component_colours(mixture, up)), corners).tolist(),
        text=None if many else np.repeat(labels, corners).tolist(),
        hoverinfo="skip" if many else "text",
        lighting=_LIGHTING,
        lightposition=_LIGHT_POSITION,
        name="Gaussians",
        showlegend=True,
    )


def solid_mesh(vertices: np.ndarray, triangles: np.ndarray, *, up: str = "z") -> Any:
    """A mesh of vertices [V, 3] and triangles [T, 3], each lit on its own."""
    vertices, triangles = coarse(vertices, triangles)
    # plotly leaves triangles black whose corners turn the other way, and in found meshes many do.
    a, b, c = np.moveaxis(vertices[triangles], 1, 0)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=-1)
    light = np.array(list(_upright((0.35, -0.55, 0.76), up).values()))
    facing = np.abs(normals @ light) / np.where(lengths > 0, lengths, 1)
    return graph_objects.Mesh3d(
        **_coordinates(vertices),
        **_corners(triangles),
        intensity=facing.astype(np.float32),
        intensitymode="cell",
        colorscale=[[0, _hex(0.45 * PLAIN[None])[0]], [1, _hex(1.25 * PLAIN[None])[0]]],
        cmin=0,
        cmax=1,
        showscale=False,
        lighting={"ambient": 1, "diffuse": 0, "specular": 0, "fresnel": 0},
        hoverinfo="skip",
        name="mesh",
        showlegend=True,
    )


def cloud(
    points: np.ndarray,  # [M, D]
    *,
    up: str = "z",
    shown: bool = True,
    colours: np.ndarray | None = None,  # [M, 3]
    size: float | None = None,
) -> Any:
    """The points; with ``shown=False`` they appear when their name is clicked. Of points with ``colours`` all.

    ``size`` is that of a point, in pixels.
    """
    if colours is None:
        points = some_points(points)
    kind = graph_objects.Scatter3d if points.shape[1] == 3 else graph_objects.Scatter
    marker: dict[str, Any] = {"size": size or (2.5 if points.shape[1] == 3 else 4), "color": "#30508c"}
    if colours is not None:
        marker["color"] = _hex(colours).tolist()
    elif points.shape[1] == 3 and shown:
        marker["color"] = _hex(height_colours(points, up)).tolist()
    return kind(
        **_coordinates(points),
        mode="markers",
        marker=marker,
        name="points",
        visible=True if shown else "legendonly",
        showlegend=True,
        hoverinfo="skip",
    )


def flat_ellipses(mixture: Mixture) -> Any:
    """The ellipses of a mixture [N] of dimension 2 as one line."""
    outlines = ellipses(fewer_gaussians(mixture))
    # Not-a-number lifts the pen.
    line = np.concatenate([outlines, np.full_like(outlines[:, :1], np.nan)], 1).reshape(-1, 2)
    style = {"width": 1, "color": "#c2563b"}
    return graph_objects.Scatter(**_coordinates(line), mode="lines", line=style, hoverinfo="skip", name="Gaussians")


def flat_values(mixture: Mixture, box: Box, **options: Any) -> Any:
    """The values of a mixture [N] of dimension 2 as an image."""
    signed = bool((mixture.weights < 0).any())
    return heat(field(mixture, box, 96), box, signed=signed, smooth=True, **options)


def heat(
    image: np.ndarray,  # [rows, columns]
    box: Box,
    *,
    name: str = "values",
    signed: bool = False,
    top: float | None = None,
    shown: bool = True,
    smooth: bool = False,
    colours: str = "Greys",
) -> Any:
    """An image over the box, from 0 (or its least) to ``top``, which is black in Greys."""
    image = thumbnail(image)
    left, right, upper, lower = box
    step_x, step_y = (right - left) / image.shape[1], (lower - upper) / image.shape[0]
    top = top or float(np.abs(image).max()) or 1.0
    return graph_objects.Heatmap(
        z=image.astype(np.float32),
        x0=left + step_x / 2,
        dx=step_x,
        y0=upper + step_y / 2,
        dy=step_y,
        zmin=-top if signed else min(0.0, float(image.min())),
        zmax=top,
        colorscale="RdBu_r" if signed else colours,
        showscale=False,
        zsmooth="best" if smooth else False,
        name=name,
        showlegend=True,
        visible=True if shown else "legendonly",
        hovertemplate="x %{x:.2f}, y %{y:.2f}<br>%{z:.4g}<extra></extra>",
    )


def scene(low: np.ndarray, high: np.ndarray, up: str = "z") -> dict[str, Any]:  # [3], [3]
    """A scene without axes that shows a box; scenes of the same box show it in the same size."""
    axis = {"visible": False, "showspikes": False}
    ranges = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    axes = {f"{name}axis": {**axis, "range": span} for name, span in zip("xyz", ranges, strict=True)}
    camera = {"up": _upright((0, 0, 1), up), "eye": _upright(_EYE, up), "projection": {"type": "orthographic"}}
    return {**axes, "aspectmode": "data", "camera": camera, "dragmode": "orbit"}


def write_page(figure: Any, path: Path, title: str, script: str | None = None) -> None:
    """Write the figure and all it needs to one page; the same figure is the same file."""
    figure.update_layout(template="plotly_white", font={"family": "system-ui, sans-serif"})
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="figure",
        default_height="100%",
        post_script=script,
        config={"displaylogo": False, "responsive": True, "scrollZoom": True},
    )
    style = "<style>html, body { height: 100%; margin: 0; }</style>"
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n{style}'
    write_text(path, f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n')


def _upright(vector: tuple[float, float, float], up: str) -> dict[str, float]:
    """A vector that was written for z upwards, for another axis."""
    return dict(zip("xyz", np.roll(vector, AXES.index(up) + 1).tolist(), strict=True))


def _coordinates(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.astype(np.float32).T, strict=False))


def _corners(triangles: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("ijk", triangles.astype(np.int32).T, strict=True))


def _hex(colours: np.ndarray) -> np.ndarray:  # [N, 3] -> [N]
    whole = np.round(colours * 255).astype(int)
    return np.array([f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in whole.tolist()])
