"""The ten parametric classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gmcn.data import primitives
from gmcn.data.solids import CLASSES, make_mesh, make_solids
from tests.data.files import read

SMALL = {"train_per_class": 3, "test_per_class": 2, "points": 32}
OPEN = {"bowl", "tube"}


def volume_and_area(vertices, triangles):
    corners = vertices[triangles]
    cross = np.cross(corners[:, 1], corners[:, 2])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return (corners[:, 0] * cross).sum() / 6, np.linalg.norm(normals, axis=1).sum() / 2


def open_edges(vertices, triangles):
    """Number of edges that belong to one triangle only, equal vertices merged and degenerate triangles left out."""
    _, merged = np.unique(np.round(vertices, 9), axis=0, return_inverse=True)
    faces = [face for face in merged.reshape(-1)[triangles].tolist() if len(set(face)) == 3]
    edges = Counter(tuple(sorted((face[i], face[i - 1]))) for face in faces for i in range(3))
    return sum(count == 1 for count in edges.values())


# The staircase is closed too, but its columns meet in T-shaped joints: see its area below.
@pytest.mark.parametrize("class_name", [name for name in CLASSES if name != "staircase"])
def test_closed_and_open(class_name):
    vertices, triangles = CLASSES[class_name](np.random.default_rng(4))
    assert (open_edges(vertices, triangles) > 0) == (class_name in OPEN)


def test_known_measures():
    _, area = volume_and_area(*primitives.box([0, 0, 0], [1, 2, 3]))
    assert area == pytest.approx(22)
    _, area = volume_and_area(*primitives.pyramid(2, 2, np.sqrt(3)))
    assert area == pytest.approx(4 + 4 * 2)
    # Steps of 1 x 1, width 2: sides 1 + 2 + 3, treads and risers 2 x 3 each, bottom 6, back 6.
    _, area = volume_and_area(*primitives.staircase(3, 1, 1, 2))
    assert area == pytest.approx(2 * 6 + 2 * 6 + 6 + 6)
    _, area = volume_and_area(*primitives.torus(1, 0.3))
    assert area == pytest.approx(4 * np.pi**2 * 0.3, rel=0.02)
    _, area = volume_and_area(*primitives.revolve([0, 1, 1, 0], [0, 0, 2, 2]))
    assert area == pytest.approx(6 * np.pi, rel=0.01)


def test_balanced_split_and_names():
    samples = make_solids(SMALL, [])
    assert read(samples).shape == (50, 32, 3)
    assert Counter(zip(samples.labels.tolist(), samples.split.tolist(), strict=True)) == {
        (label, part): count for label in range(10) for part, count in ((0, 3), (1, 2))
    }
    assert len(set(samples.names)) == 50
    assert samples.names[0] == "bowl_train_0000"


def test_seeds():
    first, again, other = (read(make_solids(SMALL | {"seed": seed}, [])) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any(axis=(1, 2)).all()


def test_more_meshes_leave_the_others_as_they_are():
    few, many = make_solids(SMALL, []), make_solids(SMALL | {"train_per_class": 4}, [])
    kept = [index for index, name in enumerate(many.names) if name in set(few.names)]
    assert np.array_equal(read(many)[kept], read(few))


def test_meshes_differ_within_a_class():
    for class_name in CLASSES:
        first, second = (make_mesh(class_name, np.random.default_rng(seed))[0] for seed in (1, 2))
        assert first.shape != second.shape or not np.allclose(first, second, atol=0.05)
