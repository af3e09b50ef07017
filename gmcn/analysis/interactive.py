"""Pages to turn shapes on (.html), drawn with plotly; everything is in the page, so that it works offline."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.analysis.drawing import PLAIN, component_colours, ellipses, ellipsoids, field, height_colours, visible
from gmcn.artifacts import write_text
from gmcn.mixture import Mixture

_LIGHTING = {"ambient": 0.5, "diffuse": 0.7, "specular": 0.15, "roughness": 0.6, "fresnel": 0.1}
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


def solid_mixture(mixture: Mixture, *, name: str = "Gaussians", up: str = "z", subdivisions: int = 1) -> Any:
    """The ellipsoids of a mixture [N] of dimension 3 as one surface; a pointer on one of them shows its weight."""
    from plotly import graph_objects

    weights = mixture.weights.tolist()
    labels = [f"Gaussian {index}<br>weight {weight:.4g}" for index, weight in enumerate(weights) if weight != 0]
    mixture = visible(mixture)
    vertices, triangles = ellipsoids(mixture, subdivisions=subdivisions)  # [N, V, 3], [T, 3]
    count, corners = vertices.shape[:2]
    merged = (triangles + corners * np.arange(count)[:, None, None]).reshape(-1, 3)
    return graph_objects.Mesh3d(
        **_coordinates(vertices.reshape(-1, 3)),
        **_corners(merged),
        vertexcolor=np.repeat(_hex(component_colours(mixture, up)), corners).tolist(),
        text=np.repeat(labels, corners).tolist(),
        hoverinfo="text",
        lighting=_LIGHTING,
        name=name,
        showlegend=True,
    )


def solid_mesh(vertices: np.ndarray, triangles: np.ndarray, *, name: str = "mesh") -> Any:  # [V, 3], [T, 3]
    """A mesh, every triangle lit on its own."""
    from plotly import graph_objects

    return graph_objects.Mesh3d(
        **_coordinates(vertices),
        **_corners(triangles),
        color=_hex(PLAIN[None])[0],
        flatshading=True,
        lighting=_LIGHTING,
        hoverinfo="skip",
        name=name,
        showlegend=True,
    )


def cloud(points: np.ndarray, *, name: str = "points", up: str = "z", shown: bool = True) -> Any:  # [M, D]
    """The points; with ``shown=False`` they appear when their name is clicked."""
    from plotly import graph_objects

    kind = graph_objects.Scatter3d if points.shape[1] == 3 else graph_objects.Scatter
    marker = {"size": 2.5 if points.shape[1] == 3 else 4, "color": "#30508c"}
    if points.shape[1] == 3 and shown:
        marker["color"] = _hex(height_colours(points, up)).tolist()
    return kind(
        **_coordinates(points),
        mode="markers",
        marker=marker,
        name=name,
        visible=True if shown else "legendonly",
        showlegend=True,
        hoverinfo="skip",
    )


def flat_ellipses(mixture: Mixture, *, name: str = "Gaussians") -> Any:
    """The ellipses of a mixture [N] of dimension 2 as one line."""
    from plotly import graph_objects

    outlines = ellipses(visible(mixture))
    # Not-a-number lifts the pen.
    line = np.concatenate([outlines, np.full_like(outlines[:, :1], np.nan)], 1).reshape(-1, 2)
    style = {"width": 1, "color": "#c2563b"}
    return graph_objects.Scatter(**_coordinates(line), mode="lines", line=style, hoverinfo="skip", name=name)


def flat_values(mixture: Mixture, box: tuple[float, float, float, float], **options: Any) -> Any:
    """The values of a mixture [N] of dimension 2 in (left, right, top, bottom) as an image."""
    left, right, upper, lower = box
    fine = 96 / max(right - left, lower - upper)
    shape = (max(1, round((lower - upper) * fine)), max(1, round((right - left) * fine)))
    signed = bool((mixture.weights < 0).any())
    return heat(field(mixture, box, shape), box, signed=signed, **options)


def heat(
    image: np.ndarray,  # [rows, columns]
    box: tuple[float, float, float, float],
    *,
    name: str = "values",
    signed: bool = False,
    top: float | None = None,
    shown: bool = True,
) -> Any:
    """An image over (left, right, top, bottom); ``top`` is drawn black."""
    from plotly import graph_objects

    left, right, upper, lower = box
    step_x, step_y = (right - left) / image.shape[1], (lower - upper) / image.shape[0]
    top = top or float(np.abs(image).max()) or 1.0
    return graph_objects.Heatmap(
        z=image.astype(np.float32),
        x0=left + step_x / 2,
        dx=step_x,
        y0=upper + step_y / 2,
        dy=step_y,
        zmin=-top * signed,
        zmax=top,
        colorscale="RdBu_r" if signed else "Greys",
        showscale=False,
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
    # As View: azimuth -52 and elevation 22 degrees around the vertical axis.
    turned = np.roll((1.06, -1.36, 0.70), ("x", "y", "z").index(up) + 1)
    camera = {
        "up": dict(zip("xyz", np.roll((0, 0, 1), ("x", "y", "z").index(up) + 1).tolist(), strict=True)),
        "eye": dict(zip("xyz", turned.tolist(), strict=True)),
        "projection": {"type": "orthographic"},
    }
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
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n<style>html, body {{ height: 100%; margin: 0; }}</style>'
    write_text(path, f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n')


def _coordinates(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.astype(np.float32).T, strict=False))


def _corners(triangles: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("ijk", triangles.astype(np.int32).T, strict=True))


def _hex(colours: np.ndarray) -> np.ndarray:  # [N, 3] -> [N]
    whole = np.round(colours * 255).astype(int)
    return np.array([f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in whole.tolist()])
