"""Still pictures of 3D shapes: every pixel is a ray that meets ellipsoids or a mesh, seen from far away.

Ellipsoids are met exactly, not through triangles, so that they are smooth and intersect where they should.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gmcn.mixture import Mixture
from gmcn.pictures.drawing import AXES, DEVIATIONS, component_colours, height_colours, visible

# Rays per pixel and axis: edges are averaged over them.
_RAYS = 2
# In the viewer's axes (right, up, towards): from over the left shoulder, and a weak one from the right.
_LIGHTS = ((np.array((-0.45, 0.65, 0.62)), 0.62), (np.array((0.80, -0.10, 0.59)), 0.16))
_AMBIENT = 0.34


@dataclass(frozen=True)
class View:
    """The viewpoint of a picture, and the square that it shows."""

    centre: np.ndarray  # [3]
    radius: float  # half of the square's side
    azimuth: float = -52.0  # degrees around the vertical axis; 0 looks from the positive first horizontal axis
    elevation: float = 22.0  # degrees above the horizon
    up: str = "z"  # the vertical axis
    pixels: int = 480

    @property
    def axes(self) -> np.ndarray:  # [3, 3]
        """Rows: to the right, up, and towards the viewer, in the shape's coordinates."""
        azimuth, elevation = np.radians(self.azimuth), np.radians(self.elevation)
        flat = np.cos(elevation)
        towards = np.array((flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)))
        right = np.array((-np.sin(azimuth), np.cos(azimuth), 0.0))
        turned = (AXES.index(self.up) + 1) % 3
        return np.roll(np.stack([right, np.cross(towards, right), towards]), turned, axis=1)

    def rays(self) -> np.ndarray:
        """Coordinates [P] of the rays along either side of the square."""
        count = self.pixels * _RAYS
        return self.radius * ((np.arange(count) + 0.5) * 2 / count - 1)


def view_of(low: np.ndarray, high: np.ndarray, **options) -> View:  # [3], [3]
    """A view that shows the whole box from ``low`` to ``high``."""
    view = View((low + high) / 2, 1.0, **options)
    corners = np.stack(np.meshgrid(*zip(low - view.centre, high - view.centre, strict=True)), -1).reshape(-1, 3)
    radius = np.abs(corners @ view.axes[:2].T).max()
    return View(view.centre, 1.02 * (radius or 1.0), **options)


class Picture:
    """A square of rays with what they met first: depth towards the viewer, normal and colour."""

    def __init__(self, view: View):
        self.view = view
        count = view.pixels * _RAYS
        self.depth = np.full((count, count), -np.inf)
        self.normals = np.zeros((count, count, 3))
        self.colours = np.zeros((count, count, 3))

    def add_ellipsoids(self, mixture: Mixture, deviations: float = DEVIATIONS, colours: np.ndarray | None = None):
        """Draw the components of a mixture [N] whose weight is not zero; ``colours`` [N', 3] are theirs."""
        mixture = visible(mixture)
        if colours is None:
            colours = component_colours(mixture, self.view.up)
        axes, rays = self.view.axes, self.view.rays()
        centres = (mixture.positions.numpy() - self.view.centre) @ axes.T
        covariances = axes @ mixture.covariances.numpy() @ axes.T * deviations**2
        halves, precisions = np.sqrt(covariances.diagonal(axis1=1, axis2=2)), np.linalg.inv(covariances)
        for centre, half, p, colour in zip(centres, halves, precisions, colours, strict=True):
            columns = slice(*np.searchsorted(rays, (centre[0] - half[0], centre[0] + half[0])))
            rows = slice(*np.searchsorted(rays, (centre[1] - half[1], centre[1] + half[1])))
            x, y = np.meshgrid(rays[columns] - centre[0], rays[rows] - centre[1])
            # The surface is v^T P v = 1; along a ray that is a quadratic equation for v's last coordinate.
            b = p[0, 2] * x + p[1, 2] * y
            c = p[0, 0] * x * x + 2 * p[0, 1] * x * y + p[1, 1] * y * y - 1
            root = b * b - p[2, 2] * c
            z = (np.sqrt(np.maximum(root, 0)) - b) / p[2, 2]
            self._meet(rows, columns, root > 0, z + centre[2], np.stack([x, y, z], -1) @ p, colour)

    def add_points(self, points: np.ndarray, radius: float, colours: np.ndarray | None = None):  # [M, 3], [M, 3]
        """Draw points as small spheres, in the shape's unit, by default in colours by height."""
        positions = torch.from_numpy(np.asarray(points, dtype=np.float64))
        covariances = (radius**2 * torch.eye(3, dtype=torch.float64)).expand(len(points), 3, 3)
        spheres = Mixture(positions.new_ones(len(points)), positions, covariances)
        self.add_ellipsoids(spheres, 1.0, height_colours(points, self.view.up) if colours is None else colours)

    def add_mesh(self, vertices: np.ndarray, triangles: np.ndarray, colour: np.ndarray):  # [V, 3], [T, 3]
        """Draw a mesh; both sides of its triangles are lit, whichever way their corners turn."""
        import point_cloud_utils

        axes, rays = self.view.axes, self.view.rays()
        seen = (vertices - self.view.centre) @ axes.T / self.view.radius  # of size one, whatever the unit
        start = seen[:, 2].max() + 1
        x, y = np.meshgrid(rays, rays)
        origins = np.stack([x / self.view.radius, y / self.view.radius, np.full_like(x, start)], -1).reshape(-1, 3)
        directions = np.broadcast_to(np.array((0.0, 0.0, -1.0)), origins.shape).copy()
        seen, triangles = np.ascontiguousarray(seen), np.ascontiguousarray(triangles)
        face, _, distance = point_cloud_utils.ray_mesh_intersection(seen, triangles, origins, directions)
        face, distance = np.asarray(face).reshape(x.shape), np.asarray(distance).reshape(x.shape)
        hit = np.isfinite(distance) & (face >= 0)
        a, b, c = np.moveaxis(seen[triangles[np.where(hit, face, 0)]], -2, 0)
        normals = np.cross(b - a, c - a)
        normals *= np.where(normals[..., 2:] < 0, -1, 1)
        whole = slice(None)
        self._meet(whole, whole, hit, np.where(hit, start - distance, 0) * self.view.radius, normals, colour)

    def image(self) -> np.ndarray:  # [pixels, pixels, 4], the first row at the top
        """Red, green, blue and opacity in [0, 1]: lit, a little paler far away, edges averaged."""
        met = np.isfinite(self.depth)
        length = np.linalg.norm(self.normals, axis=-1, keepdims=True)
        normals = self.normals / np.where(length > 0, length, 1)
        light = _AMBIENT + sum(strength * np.maximum(normals @ axis, 0) for axis, strength in _LIGHTS)
        halfway = _LIGHTS[0][0] + np.array((0.0, 0.0, 1.0))  # between the light and the viewer
        shine = 0.18 * np.maximum(normals @ (halfway / np.linalg.norm(halfway)), 0) ** 24
        far = np.clip((self.view.radius - np.where(met, self.depth, 0)) / (2 * self.view.radius), 0, 1)[..., None]
        lit = np.clip(self.colours * light[..., None] * 1.08 + shine[..., None], 0, 1)
        lit = lit * (1 - 0.28 * far) + 0.28 * far
        size = self.view.pixels
        rays = np.concatenate([lit * met[..., None], met[..., None]], -1)
        image = rays[::-1].reshape(size, _RAYS, size, _RAYS, 4).mean((1, 3))
        image[..., :3] /= np.where(image[..., 3:] > 0, image[..., 3:], 1)
        return image

    def _meet(self, rows: slice, columns: slice, hit: np.ndarray, depth, normals, colour) -> None:
        nearer = hit & (depth > self.depth[rows, columns])
        self.depth[rows, columns][nearer] = depth[nearer]
        self.normals[rows, columns][nearer] = normals[nearer]
        self.colours[rows, columns][nearer] = colour
