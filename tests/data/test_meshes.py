"""Points on meshes: exact counts, seeds, density; archives of meshes."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest

from gmcn.data import primitives
from gmcn.data.meshes import parse_mesh, read_meshes, sample_mesh
from gmcn.data.parallel import load_all
from gmcn.data.samples import stored
from gmcn.data.solids import CLASSES, make_solids
from gmcn.errors import InputError
from tests.data.files import read, write_meshes

BOX = primitives.box([0, 0, 0], [3, 1, 1])


@pytest.mark.parametrize("sampling", ["uniform", "poisson"])
@pytest.mark.parametrize("count", [1, 7, 200, 1024])
def test_exact_count_on_the_surface(sampling, count):
    points = sample_mesh(*BOX, count, sampling, seed=3)
    assert points.shape == (count, 3)
    assert points.dtype == np.float64
    distance = np.abs(np.concatenate([points, points - [3, 1, 1]], axis=1)).min(axis=1)
    assert distance.max() < 1e-6
    assert ((points > -1e-6) & (points < np.array([3, 1, 1]) + 1e-6)).all()


@pytest.mark.parametrize("sampling", ["uniform", "poisson"])
def test_seeds(sampling):
    # 0 is the time of day to point-cloud-utils; here it is a seed like any other.
    first, again, other = (sample_mesh(*BOX, 100, sampling, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_uniform_is_by_area():
    points = sample_mesh(*BOX, 14000, seed=1)
    ends = ((points[:, 0] < 1e-6) | (points[:, 0] > 3 - 1e-6)).mean()
    # 2 of 14 units of area; five standard deviations of a binomial.
    assert abs(ends - 2 / 14) < 5 * np.sqrt(2 / 14 * 12 / 14 / 14000)


def test_poisson_keeps_points_apart():
    from scipy.spatial import cKDTree

    def closest(sampling):
        points = sample_mesh(*BOX, 500, sampling, seed=1)
        return cKDTree(points).query(points, k=2)[0][:, 1].min()

    assert closest("poisson") > 5 * closest("uniform")


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_any_unit(scale):
    points = sample_mesh(BOX[0] * scale, BOX[1], 50, seed=1)
    np.testing.assert_allclose(points / scale, sample_mesh(*BOX, 50, seed=1), atol=1e-5)


def test_degenerate_faces_are_harmless():
    triangles = np.concatenate([BOX[1], [[0, 0, 1], [2, 2, 2]]])
    assert np.array_equal(sample_mesh(BOX[0], triangles, 50, seed=1), sample_mesh(*BOX, 50, seed=1))


def test_repeated_and_unused_vertices_are_harmless():
    vertices = np.concatenate([BOX[0], BOX[0], [[1.5, 0.5, 0.5]] * 3])
    points = sample_mesh(vertices, BOX[1] + 8, 500, seed=1)
    distance = np.abs(np.concatenate([points, points - [3, 1, 1]], axis=1)).min(axis=1)
    assert distance.max() < 1e-6


@pytest.mark.parametrize("sampling", ["uniform", "poisson"])
def test_duplicated_faces_still_give_points_of_the_surface(sampling):
    points = sample_mesh(BOX[0], np.concatenate([BOX[1], BOX[1][:3], BOX[1][:, ::-1]]), 300, sampling, seed=1)
    distance = np.abs(np.concatenate([points, points - [3, 1, 1]], axis=1)).min(axis=1)
    assert points.shape == (300, 3)
    assert distance.max() < 1e-6


def test_no_surface():
    for triangles in (np.zeros((0, 3), dtype=np.int64), np.array([[1, 1, 2]])):
        with pytest.raises(InputError, match=r"bad\.off has no surface"):
            sample_mesh(BOX[0], triangles, 10, seed=1, source="bad.off")
    with pytest.raises(InputError, match="no surface"):
        sample_mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), 10, seed=1)


def test_unknown_sampling():
    with pytest.raises(InputError, match="unknown sampling 'possion'; did you mean 'poisson'"):
        sample_mesh(*BOX, 10, "possion", seed=1)


@pytest.fixture
def archive(tmp_path):
    """Solids, one training and one test mesh per class, as a zip in ModelNet's layout with macOS's rubbish."""
    write_meshes(tmp_path / "set", {"train_per_class": 1, "test_per_class": 1})
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as target:
        for file in sorted((tmp_path / "set").rglob("*.off"), reverse=True):
            target.write(file, file.relative_to(tmp_path))
        target.writestr("./", "")  # some programs list the folder itself
        target.writestr("set/README.txt", "about")
        target.writestr("__MACOSX/set/bowl/train/._bowl.off", "rubbish")
        target.writestr("set/bowl/train/.DS_Store", "rubbish")
    return path


def test_archive(archive):
    samples = read_meshes({"points": 64, "seed": 5}, [archive])
    assert samples.class_names == list(CLASSES)
    assert samples.labels.tolist() == [label for label in range(10) for _ in range(2)]
    # Within a class "test" sorts before "train".
    assert samples.split.tolist() == [1, 0] * 10
    assert samples.names[:2] == ["bowl_test_0000", "bowl_train_0000"]
    assert read(samples).shape == (20, 64, 3)
    assert np.array_equal(read(samples), read(read_meshes({"points": 64, "seed": 5}, [archive])))
    solids = make_solids({"points": 64, "train_per_class": 1, "test_per_class": 1}, [])
    # The same meshes under other seeds: the same boxes around other points.
    order = [index ^ 1 for index in range(20)]
    np.testing.assert_allclose(np.ptp(read(samples), axis=1), np.ptp(read(solids)[order], axis=1), atol=0.35)


def test_archive_errors(archive, tmp_path):
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"damaged\.zip is truncated or damaged"):
        read_meshes({}, [damaged])
    encrypted = tmp_path / "encrypted.zip"
    content = bytearray(archive.read_bytes())
    for flags in (m.start() + 8 for m in re.finditer(b"PK\x01\x02", content)):
        content[flags] |= 1
    encrypted.write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted\.zip:.* is truncated or damaged \(.*encrypted"):
        read(read_meshes({}, [encrypted]))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as target:
        target.writestr("a/b.off", "OFF")
    with pytest.raises(InputError, match=r"empty\.zip holds no <class>/<train\|test>/<name>\.off"):
        read_meshes({}, [tmp_path / "empty.zip"])
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as target:
        target.writestr("a/chair/train/chair_1.off", "OFF\n1 1 0\n0 0 0\n3 0 0 9\n")
    with pytest.raises(InputError, match=r"bad\.zip:a/chair/train/chair_1\.off, line 4"):
        read(read_meshes({}, [tmp_path / "bad.zip"]))


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl"])
def test_other_formats_are_the_same_mesh(suffix):
    import trimesh

    content = trimesh.Trimesh(*BOX, process=False).export(file_type=suffix)
    vertices, triangles = parse_mesh(content.encode() if isinstance(content, str) else content, f"box.{suffix.upper()}")
    assert (vertices.dtype, triangles.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(vertices[triangles], BOX[0][BOX[1]], atol=1e-6)


def test_obj_with_polygons_groups_and_materials():
    text = b"mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\n" + (
        b"g first\nusemtl red\nf 1 2 3 4\ng second\nusemtl blue\nf 1/1/1 2/1/1 5/1/1\n"
    )
    vertices, triangles = parse_mesh(text, "a.obj")
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ply", b"rubbish", r"a\.ply is no \.ply file"),
        ("a.stl", b"rubbish", r"a\.stl is no \.stl, or it is truncated"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n", r"a\.obj: a coordinate of vertex 2 is not finite"),
    ],
)
def test_unreadable_meshes_of_other_formats(name, content, message):
    with pytest.raises(InputError, match=message):
        parse_mesh(content, name)


def test_points_depend_on_the_object_and_on_nothing_else(archive, tmp_path):
    """Not on the other objects, nor on a zip or a folder, nor on the number of processes."""
    settings = {"points": 64, "seed": 5, "sampling": "poisson"}
    samples = read_meshes(settings, [archive])
    everything = read(samples)
    assert np.array_equal(np.stack([stored(row["points"]) for row in load_all(samples, 2)]), everything)
    for index in (3, 11):
        name = samples.names[index]
        folder = (
            tmp_path / f"mine{index}" / samples.class_names[samples.labels[index]] / ("train", "test")[index % 2 == 0]
        )
        folder.mkdir(parents=True)
        (source,) = (tmp_path / "set").rglob(f"{name}.off")
        (folder / f"{name}.off").write_bytes(source.read_bytes())
        alone = read_meshes(settings, [tmp_path / f"mine{index}"])
        assert alone.names == [name]
        assert np.array_equal(read(alone)[0], everything[index])
    assert not np.array_equal(read(read_meshes(settings | {"seed": 6}, [archive])), everything)


def test_a_bad_object_stops_no_other_one_in_a_process_either(tmp_path):
    good = "OFF 3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as target:
        for index, text in enumerate((good, "OFF\n0 0 0\n", good[:-3], good)):
            target.writestr(f"chair/train/chair_{index}.off", text)
    rows = list(load_all(read_meshes({"points": 8}, [tmp_path / "a.zip"]), 2))
    assert [isinstance(row, InputError) for row in rows] == [False, True, True, False]
    assert "chair_1.off holds no faces" in str(rows[1])
