"""The reader of point cloud archives."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch

from gmcn.artifacts import load_tensors
from gmcn.data import sample
from gmcn.data.clouds import FORMATS, parse_cloud, read_clouds
from gmcn.data.npz import parse_npz, read_arrays
from gmcn.data.samples import normalize, resize
from gmcn.errors import InputError
from tests.data.files import ply, read


def arrays(**changes):
    points = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    content = {
        "points": points,
        "label": np.array([0, 1, 1, 0], dtype=np.uint8),
        "is_train": np.array([True, True, False, False]),
        "name": np.array(["chair_1", "bed_1", "bed_2", "chair_2"], dtype="S24"),
        "class_names": np.array(["chair", "bed"], dtype="S16"),
    } | changes
    return {key: value for key, value in content.items() if value is not None}


def write(folder, **changes):
    np.savez_compressed(folder / "set.npz", **arrays(**changes))
    return folder / "set.npz"


def test_clouds_of_fewer_points_are_repeated_whatever_the_file_is_called(tmp_path):
    write(tmp_path).rename(tmp_path / "SET.NPZ")
    with pytest.raises(InputError, match="have 6 points, fewer than 12; ask for fewer `points`, or set repeat_points"):
        read_clouds({"points": 12}, [tmp_path / "SET.NPZ"])
    samples = read_clouds({"points": 12, "repeat_points": True}, [tmp_path / "SET.NPZ"])
    assert np.array_equal(read(samples), np.tile(arrays()["points"], (1, 2, 1)))


def test_float_points(tmp_path):
    samples = read_clouds({}, [write(tmp_path)])
    assert np.array_equal(read(samples), arrays()["points"])
    assert samples.split.tolist() == [0, 0, 1, 1]
    assert samples.labels.tolist() == [0, 1, 1, 0]
    assert samples.names == ["chair_1", "bed_1", "bed_2", "chair_2"]
    assert samples.class_names == ["chair", "bed"]


def test_points_of_float64_keep_their_precision_until_they_are_normalised(tmp_path):
    points = arrays()["points"].astype(np.float64)
    sampled(tmp_path, points=points + np.array([500_000, 5_400_000, 300]))
    tensors, _ = load_tensors(tmp_path / "set.safetensors")
    np.testing.assert_allclose(tensors["points"].numpy(), normalize(points), atol=1e-6)


def test_sixteen_bit_points(tmp_path):
    stored = np.array([0, 65535, 32768], dtype=np.uint16) * np.ones((4, 6, 1), dtype=np.uint16)
    samples = read_clouds({}, [write(tmp_path, points=None, points_u16=stored)])
    assert read(samples).dtype == np.float32
    np.testing.assert_allclose(read(samples)[2, 3], [-1, 1, 1 / 65535], atol=1e-7)


def test_the_name_says_which_points_are_sixteen_bit(tmp_path):
    whole = (arrays()["points"] * 100).astype(np.int64).clip(0).astype(np.uint16)
    assert np.array_equal(read(read_clouds({}, [write(tmp_path, points=whole)])), whole)
    path = write(tmp_path, points=None, points_u16=whole.astype(np.int32))
    for reader in (
        lambda: read_clouds({}, [path]),
        lambda: read_arrays(path),
        lambda: parse_npz(path.read_bytes(), "a"),
    ):
        with pytest.raises(InputError, match=r"'points_u16' of .* is int32, not uint16; call coordinates 'points'"):
            reader()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": None}, r"lacks points \(or points_u16\)"),
        ({"is_train": None, "name": None}, "lacks is_train, name; it has class_names, label, points"),
        ({"label": np.zeros(3, dtype=np.uint8)}, r"'label' of .*set.npz has shape \(3,\) for 4 clouds"),
        ({"points": np.zeros((4, 6, 2), dtype=np.float32)}, r"have shape \(4, 6, 2\)"),
        ({"points": np.zeros((4, 0, 3), dtype=np.float32)}, r"have shape \(4, 0, 3\)"),
        ({"name": np.array([None] * 4)}, r"set\.npz:name\.npy is no readable \.npy \(it holds Python objects"),
    ],
)
def test_malformed(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_clouds({}, [write(tmp_path, **changes)])


@pytest.mark.parametrize("label", [[0.0, 0.7, 1.0, 0.0], ["chair", "bed", "bed", "bed"]])
def test_labels_that_are_no_numbers(tmp_path, label):
    with pytest.raises(InputError, match="must be whole numbers and booleans"):
        read_clouds({}, [write(tmp_path, label=np.array(label))])


def test_truncated_archive(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"set\.npz is truncated or damaged"):
        read_clouds({}, [path])
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"set\.npz is truncated or damaged"):
        read_clouds({}, [path])


def sampled(tmp_path, **changes):
    write(tmp_path, **changes)
    settings = {"kind": "clouds", "normalize": True, "files": [{"name": "set.npz"}]}
    sample("set", settings=settings, downloads=tmp_path, output=tmp_path / "set.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_names_object_row_and_file(tmp_path, value):
    points = arrays()["points"]
    points[2, 4, 1] = value
    with pytest.raises(
        InputError, match=r"1 of 4 objects.*'bed_2' \(the cloud: a coordinate of point 4 is not finite .*drop_not_fin"
    ):
        sampled(tmp_path, points=points)
    assert not (tmp_path / "set.safetensors").exists()


def test_label_without_a_class(tmp_path):
    with pytest.raises(InputError, match=r"'bed_1'.* has label 7, but there are 2 classes"):
        sampled(tmp_path, label=np.array([0, 7, 1, 0], dtype=np.uint8))


def test_split_without_a_test_part(tmp_path):
    with pytest.raises(InputError, match="no test object"):
        sampled(tmp_path, is_train=np.ones(4, dtype=bool))


def test_the_first_points_of_an_npz(tmp_path):
    path = write(tmp_path)
    assert np.array_equal(read(read_clouds({"points": 5}, [path])), arrays()["points"][:, :5])
    with pytest.raises(InputError, match=r"have 6 points, fewer than 7; ask for fewer"):
        read_clouds({"points": 7}, [path])


def test_points_that_cannot_be_read_in_rows(tmp_path):
    with pytest.raises(InputError, match="in Fortran order"):
        read_clouds({}, [write(tmp_path, points=np.asfortranarray(arrays()["points"]))])


CLOUD = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)


def written(cloud, suffix):
    """The bytes of a cloud's file."""
    if suffix == ".npy":
        target = io.BytesIO()
        np.save(target, cloud)
        return target.getvalue()
    if suffix == ".npz":
        target = io.BytesIO()
        np.savez(target, points=cloud, colours=np.zeros(3))
        return target.getvalue()
    if suffix == ".obj":
        return "".join("v {} {} {}\nvn 0 0 1\n".format(*row) for row in cloud.tolist()).encode()
    if suffix == ".ply":
        names = ("x", "y", "z", "nx", "ny", "nz")[: cloud.shape[1]]
        return ply({name: cloud[:, column] for column, name in enumerate(names)})
    between = ", " if suffix == ".txt" else "  "
    return ("# x y z\n" + "\n".join(between.join(map(str, row)) for row in cloud.tolist()) + "\n").encode()


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_of_files(suffix):
    for cloud in (CLOUD, CLOUD[:1], CLOUD[:, :3]):
        np.testing.assert_allclose(parse_cloud(written(cloud, suffix), f"a{suffix.upper()}"), cloud[:, :3], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"0 0 0\nx y z\n", r"a\.txt, line 2: a point needs three numbers, not 'x y z'"),
        ("a.txt", b"0 0 0\n0 0\n", r"a\.txt, line 2: a point needs three numbers, not '0 0'"),
        ("a.npz", written(CLOUD, ".npz")[:-5], r"a\.npz is no readable \.npz"),
        ("a.npy", written(CLOUD, ".npy")[:-5], r"a\.npy ends before the array \(40, 6\)"),
        ("a.npy", written(CLOUD[0], ".npy"), r"a\.npy holds float32 \(6,\); a cloud is numbers of shape \(points, 3\)"),
        ("a.npy", written(CLOUD.astype("S4"), ".npy"), r"a\.npy holds \|S4"),
        ("a.npy", written(np.array([[{}]]), ".npy"), r"a\.npy is no readable \.npy \(it holds Python objects"),
        ("a.ply", written(CLOUD, ".ply")[:-1], r"a\.ply ends after 39 of 40 vertices"),
        ("a.ply", written(CLOUD[:, :2], ".ply"), r"the vertices of a\.ply lack z; they have x, y"),
    ],
)
def test_unreadable_files(name, content, message):
    with pytest.raises(InputError, match=message):
        parse_cloud(content, name)


@pytest.mark.parametrize("face", ["f 1 2 3 4", "f 1 2 99", "f 1 2 x"])  # which crosses itself, for one
def test_faces_of_a_cloud_are_ignored(face):
    corners = [[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]]
    text = "".join("v {} {} {}\n".format(*corner) for corner in corners) + face
    assert parse_cloud(text.encode(), "a.obj").tolist() == corners


def test_resize():
    points = CLOUD[:, :3]
    rng = np.random.default_rng
    assert np.array_equal(resize(points, 40, rng(0)), points)
    assert np.array_equal(resize(points, 9, None), points[:9])
    chosen = resize(points, 9, rng(0))
    assert np.array_equal(chosen, resize(points, 9, rng(0)))
    assert not np.array_equal(chosen, resize(points, 9, rng(1)))
    assert len({tuple(point) for point in chosen.tolist()} & {tuple(point) for point in points.tolist()}) == 9
    _, times = np.unique(resize(points, 95, rng(0), repeat=True), axis=0, return_counts=True)
    assert sorted(set(times.tolist())) == [2, 3]
    assert len(times) == 40
    with pytest.raises(InputError, match=r"a\.xyz has 40 points, fewer than 41; .* repeat_points: true"):
        resize(points, 41, rng(0), source="a.xyz")
    with pytest.raises(InputError, match="the cloud has no points; remove it"):
        resize(points[:0], 41, rng(0), repeat=True)


def test_a_folder_of_one_s_own(tmp_path):
    for index, suffix in enumerate(FORMATS):
        for part in ("train", "test"):
            path = tmp_path / "mine" / f"class{index % 2}" / part / f"cloud{index}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written(CLOUD, suffix))
    settings = {"kind": "clouds", "path": str(tmp_path / "mine"), "points": 16, "normalize": True}
    for threads in (1, 2):
        sample("mine", settings=settings, downloads=None, output=tmp_path / f"{threads}", threads=threads)
    one, two = (load_tensors(tmp_path / f"{threads}") for threads in (1, 2))
    assert all(torch.equal(one[0][key], two[0][key]) for key in one[0])
    assert one[0]["points"].shape == (2 * len(FORMATS), 16, 3)
    assert one[1]["class_names"] == ["class0", "class1"]
    assert one[1]["names"] == [f"cloud{n}" for first in (0, 1) for _ in range(2) for n in range(first, len(FORMATS), 2)]
    assert list(one[1]["sources"]) == ["mine"]
    with pytest.raises(InputError, match="gone does not exist; correct the `path` of data set 'mine'"):
        sample("mine", settings=settings | {"path": "gone"}, downloads=None, output=tmp_path / "x")


def holes(cloud, every=4):
    """The cloud as a depth camera would have it: each row before one of it is not a number."""
    rows = np.repeat(cloud[:, :3], 2, axis=0)[: len(cloud) + len(cloud) // every]
    rows[:: every + 1] = [np.nan, np.inf, -np.inf]
    return rows


@pytest.mark.parametrize("suffix", FORMATS)
def test_points_that_are_no_numbers_are_left_out_and_counted(tmp_path, suffix, caplog):
    for name, cloud in (("full", CLOUD), ("holes", holes(CLOUD))):
        path = tmp_path / "mine" / "cup" / "train" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written(cloud[:, :3], suffix))
    settings = {"kind": "clouds", "path": str(tmp_path / "mine"), "points": 16, "parts": ["train"]}
    with pytest.raises(
        InputError, match=r"1 of 2 objects .*point 0 is not finite .*; `drop_not_finite: true` .*leaves"
    ):
        sample("mine", settings=settings, downloads=None, output=tmp_path / "a")
    for threads in (1, 2):
        settings["drop_not_finite"] = True
        sample("mine", settings=settings, downloads=None, output=tmp_path / f"{threads}", threads=threads)
        tensors, metadata = load_tensors(tmp_path / f"{threads}")
        assert set(tensors) == {"points", "labels", "split"}
        assert metadata["dropped"] == {"holes": 10}
        assert metadata["refused"] == {}
        assert tensors["points"].isfinite().all()
        assert "mine: 10 points or Gaussians of 1 objects are not finite and are left out (holes ...)" in caplog.text
    kept = parse_cloud(written(holes(CLOUD), suffix), f"a{suffix}", drop_not_finite=True)
    whole = holes(CLOUD)
    np.testing.assert_allclose(kept, whole[np.isfinite(whole).all(-1)], rtol=1e-6)


def test_points_of_an_archive_that_are_no_numbers(tmp_path):
    points = arrays()["points"]
    points[1, 0] = np.nan
    path = write(tmp_path, points=points)
    samples = read_clouds({"drop_not_finite": True, "points": 5}, [path])
    assert np.array_equal(read(samples)[[0, 2, 3]], points[[0, 2, 3], :5])
    assert np.array_equal(read(samples)[1], points[1, 1:])
    assert [int(row["dropped"]) for row in samples] == [0, 1, 0, 0]
    with pytest.raises(InputError, match="has 5 points, fewer than 6"):
        read(read_clouds({"drop_not_finite": True}, [path]))
    assert read(read_clouds({"drop_not_finite": True, "repeat_points": True}, [path])).shape == (4, 6, 3)


def test_a_cloud_of_nothing_but_gaps(tmp_path):
    with pytest.raises(InputError, match=r"a\.xyz has no points that are numbers; remove it|has no points; remove it"):
        resize(parse_cloud(b"nan nan nan\n" * 9, "a.xyz", drop_not_finite=True), 8, None, repeat=True, source="a.xyz")


@pytest.fixture
def resampled(tmp_path):
    """An archive as Qi et al. published it, of 12 points per object."""
    top = "modelnet40_normal_resampled"
    clouds = {name: np.random.default_rng(len(name)).normal(size=(12, 6)) for name in OBJECTS}
    with zipfile.ZipFile(tmp_path / f"{top}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, cloud in clouds.items():
            text = "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in cloud)
            archive.writestr(f"{top}/{name.rpartition('_')[0]}/{name}.txt", text)
        archive.writestr(f"{top}/filelist.txt", "night_stand/night_stand_0001.txt\n")
        for prefix, lists in LISTS.items():
            for ending, lines in lists.items():
                archive.writestr(f"{top}/{prefix}_{ending}.txt", "\n".join(lines) + "\n")
    return tmp_path / f"{top}.zip", clouds


OBJECTS = ("night_stand_0001", "night_stand_0203", "bed_0001", "bed_0516", "airplane_0001")
LISTS = {
    "modelnet10": {
        "shape_names": ("night_stand", "bed"),
        "train": ("night_stand_0001", "bed_0001"),
        "test": ("bed_0516", "night_stand_0203"),
    },
    "modelnet40": {"shape_names": ("airplane",), "train": ("airplane_0001", "airplane_0002"), "test": ()},
}


def test_the_resampled_archive(resampled, tmp_path):
    path, clouds = resampled
    samples = read_clouds({"split_lists": "modelnet10", "points": 10}, [path])
    assert samples.class_names == ["night_stand", "bed"]
    assert samples.names == ["bed_0516", "bed_0001", "night_stand_0203", "night_stand_0001"]
    assert samples.labels.tolist() == [1, 1, 0, 0]
    assert samples.split.tolist() == [1, 0, 1, 0]
    expected = np.stack([clouds[name][:10, :3] for name in samples.names])
    np.testing.assert_allclose(read(samples), expected, atol=1e-6)
    with pytest.raises(InputError, match=r"holds no modelnet20_shape_names\.txt, modelnet20_train\.txt"):
        read_clouds({"split_lists": "modelnet20"}, [path])


def test_a_listed_object_that_is_not_in_the_archive(resampled, tmp_path, caplog):
    path, _ = resampled
    settings = {"kind": "clouds", "split_lists": "modelnet40", "points": 12, "files": [{"name": path.name}]}

    def run(**changes):
        sample("r", settings=settings | changes, downloads=tmp_path, output=tmp_path / "r.safetensors")

    with pytest.raises(InputError, match=r"1 of 2 objects .*'airplane_0002' \(.*0002\.txt is not in the archive\)"):
        run()
    run(bad_objects="skip", parts=["train"])
    tensors, metadata = load_tensors(tmp_path / "r.safetensors")
    assert metadata["names"] == ["airplane_0001"]
    assert list(metadata["refused"]) == ["airplane_0002"]
    assert "'airplane_0002' is left out" in caplog.text
    assert tensors["points"].shape == (1, 12, 3)
