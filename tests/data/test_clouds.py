"""The reader of point cloud archives."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.data import sample
from gmcn.data.clouds import read_clouds
from gmcn.errors import InputError


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


def test_float_points(tmp_path):
    samples = read_clouds({}, [write(tmp_path)])
    assert np.array_equal(samples.read(), arrays()["points"])
    assert samples.split.tolist() == [0, 0, 1, 1]
    assert samples.labels.tolist() == [0, 1, 1, 0]
    assert samples.names == ["chair_1", "bed_1", "bed_2", "chair_2"]
    assert samples.class_names == ["chair", "bed"]


def test_sixteen_bit_points(tmp_path):
    stored = np.array([0, 65535, 32768], dtype=np.uint16) * np.ones((4, 6, 1), dtype=np.uint16)
    samples = read_clouds({}, [write(tmp_path, points=None, points_u16=stored)])
    assert samples.read().dtype == np.float32
    np.testing.assert_allclose(samples.read()[2, 3], [-1, 1, 1 / 65535], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": None}, r"lacks points \(or points_u16\)"),
        ({"is_train": None, "name": None}, "lacks is_train, name; it has class_names, label, points"),
        ({"label": np.zeros(3, dtype=np.uint8)}, r"'label' of .*set.npz has shape \(3,\) for 4 clouds"),
        ({"points": np.zeros((4, 6, 2), dtype=np.float32)}, r"have shape \(4, 6, 2\)"),
        ({"points": np.zeros((4, 0, 3), dtype=np.float32)}, r"have shape \(4, 0, 3\)"),
        ({"name": np.array([None] * 4)}, "not a readable .npz of plain arrays"),
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
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        read_clouds({}, [path])
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
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
        InputError, match=r"1 of 4 objects.*'bed_2' \(a value of its points is not finite, in row 4\); repair"
    ):
        sampled(tmp_path, points=points)
    assert not (tmp_path / "set.safetensors").exists()


def test_label_without_a_class(tmp_path):
    with pytest.raises(InputError, match=r"'bed_1'.* has label 7, but there are 2 classes"):
        sampled(tmp_path, label=np.array([0, 7, 1, 0], dtype=np.uint8))


def test_split_without_a_test_part(tmp_path):
    with pytest.raises(InputError, match="no test object"):
        sampled(tmp_path, is_train=np.ones(4, dtype=bool))
