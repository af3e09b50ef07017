"""The built-in data set `solids10`: ten parametric classes of closed and open meshes, made from a seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data import primitives
from gmcn.data.kinds import Solids, told
from gmcn.data.meshes import sample_mesh
from gmcn.data.primitives import Mesh
from gmcn.data.samples import PARTS, TEST, TRAIN, Row, Samples

# Standard deviation of each vertex' displacement, relative to the shape's size: no two meshes are quite regular.
_JITTER = 0.005


def _box(rng: np.random.Generator) -> Mesh:
    return primitives.box(-0.5 * (size := rng.uniform(0.4, 1.0, 3)), 0.5 * size)


def _ellipsoid(rng: np.random.Generator) -> Mesh:
    angle = np.linspace(0, np.pi, 17)
    return _scaled(primitives.revolve(np.sin(angle), -np.cos(angle)), rng.uniform(0.5, 1.0, 3))


def _cylinder(rng: np.random.Generator) -> Mesh:
    radius, height = rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.6)
    return primitives.revolve([0, radius, radius, 0], [0, 0, height, height])


def _cone(rng: np.random.Generator) -> Mesh:
    radius, height = rng.uniform(0.3, 0.7), rng.uniform(0.7, 1.5)
    return primitives.revolve([0, radius, 0], [0, 0, height])


def _torus(rng: np.random.Generator) -> Mesh:
    radius = rng.uniform(0.5, 0.8)
    return primitives.torus(radius, radius * rng.uniform(0.15, 0.45))


def _pyramid(rng: np.random.Generator) -> Mesh:
    width, depth = rng.uniform(0.6, 1.2, 2)
    return primitives.pyramid(width, depth, rng.uniform(0.5, 1.3))


def _bowl(rng: np.random.Generator) -> Mesh:
    angle = np.linspace(0, rng.uniform(0.4, 0.6) * np.pi, 13)
    return _scaled(primitives.revolve(np.sin(angle), -np.cos(angle)), np.array([0.7, 0.7, rng.uniform(0.4, 0.9)]))


def _tube(rng: np.random.Generator) -> Mesh:
    radius, height = rng.uniform(0.2, 0.5), rng.uniform(0.6, 1.6)
    return primitives.revolve([radius, radius * rng.uniform(0.7, 1.3)], [0, height])


def _staircase(rng: np.random.Generator) -> Mesh:
    steps = int(rng.integers(3, 7))
    return primitives.staircase(steps, *rng.uniform(0.15, 0.3, 2), rng.uniform(0.5, 1.0))


def _table(rng: np.random.Generator) -> Mesh:
    width, depth, height = rng.uniform(0.7, 1.4), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.9)
    top, leg = rng.uniform(0.04, 0.1), rng.uniform(0.04, 0.1)
    boxes = [primitives.box([0, 0, height - top], [width, depth, height])]
    for x in (0, width - leg):
        for y in (0, depth - leg):
            boxes.append(primitives.box([x, y, 0], [x + leg, y + leg, height - top]))
    return primitives.join(boxes)


# In this order the classes are labelled. bowl and tube are open; the table's boxes touch each other.
_MAKERS = (_bowl, _box, _cone, _cylinder, _ellipsoid, _pyramid, _staircase, _table, _torus, _tube)
CLASSES: dict[str, Callable[[np.random.Generator], Mesh]] = {make.__name__.strip("_"): make for make in _MAKERS}


def make_mesh(class_name: str, rng: np.random.Generator) -> Mesh:
    """A mesh of the class with random proportions, turned about z at random, jittered: [V, 3], [T, 3]."""
    vertices, triangles = CLASSES[class_name](rng)
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    vertices = vertices @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    vertices = vertices * rng.uniform(0.8, 1.25)
    size = np.ptp(vertices, axis=0).max()
    return vertices + rng.normal(0, _JITTER * size, vertices.shape), triangles


def make_solids(settings: dict[str, Any], files: list[Path]) -> Samples:
    """Make and sample the meshes, class by class, training before test.

    ``settings`` are those of :class:`gmcn.data.kinds.Solids`. Each mesh has a seed of its own from (seed, class, split,
    index): asking for more of them does not change the others.
    """
    places = list(_places(own := told(Solids, settings)))
    return Samples(
        labels=np.array([label for label, *_ in places], dtype=np.int64),
        split=np.array([part for _, part, _ in places], dtype=np.uint8),
        names=[_name(*place) for place in places],
        class_names=list(CLASSES),
        items=lambda: places,
        load=functools.partial(_load, own),
        costly=True,
    )


def _places(own: Solids) -> Iterator[tuple[int, int, int]]:
    """(label, part of the split, index) of every mesh."""
    counts = {TRAIN: own.train_per_class, TEST: own.test_per_class}
    for label in range(len(CLASSES)):
        for part, count in counts.items():
            yield from ((label, part, index) for index in range(count))


def _name(label: int, part: int, index: int) -> str:
    return f"{list(CLASSES)[label]}_{PARTS[part]}_{index:04d}"


def _load(own: Solids, place: tuple[int, int, int]) -> Row:
    rng = np.random.default_rng([own.seed, *place])
    mesh = make_mesh(list(CLASSES)[place[0]], rng)
    seed = int(rng.integers(2**31))
    return {"points": sample_mesh(*mesh, own.points, own.sampling, seed=seed, source=_name(*place))}


def _scaled(mesh: Mesh, factors: np.ndarray) -> Mesh:
    return mesh[0] * factors, mesh[1]
