"""The IDX reader on good files and on every kind of bad one."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from gmcn import config
from gmcn.artifacts import read_metadata
from gmcn.data import sample
from gmcn.data.idx import read_idx, read_images
from gmcn.errors import InputError
from tests.conftest import ROOT
from tests.data.files import read


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder, name, content):
    path = folder / name
    path.write_bytes(gzip.compress(content))
    return path


@pytest.fixture
def parts(tmp_path):
    """Five training and two test images of 3 x 4 pixels, with their labels."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 5), ("t10k", 2)):
        arrays[f"{part}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (count, 3, 4), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte.gz"] = np.arange(count, dtype=np.uint8)
    return arrays, [write(tmp_path, name, idx(array)) for name, array in arrays.items()]


def test_images_and_labels(parts):
    arrays, paths = parts
    samples = read_images({}, paths[::-1])
    assert np.array_equal(read(samples, "images")[:5], arrays["train-images-idx3-ubyte.gz"])
    assert np.array_equal(read(samples, "images")[5:], arrays["t10k-images-idx3-ubyte.gz"])
    assert samples.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert samples.split.tolist() == [0] * 5 + [1] * 2
    assert samples.class_names == ["0", "1", "2", "3", "4"]
    assert samples.names[5] == "t10k-00000"
    assert read_images({"class_names": list("abcde")}, paths).class_names == list("abcde")


def test_uncompressed(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.array([3, 1], dtype=np.uint8)))
    assert read_idx(path, 1).tolist() == [3, 1]


GOOD = idx(np.zeros((2, 3, 4), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"PK\x03\x04" + bytes(40), "not an IDX file: it starts with 504b0304"),
        (b"\0\0\x0d\x03" + GOOD[4:], "type 0x0d in 3 dimensions"),
        (idx(np.zeros(6, dtype=np.uint8)), "in 1 dimensions, expected unsigned bytes .* in 3"),
        (GOOD[:9], "ends inside its header"),
        (GOOD[:-1], "holds 23 bytes, its header promises 24"),
        (GOOD + b"\0", "holds 25 bytes, its header promises 24"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "its header promises 7922816"),
    ],
)
def test_malformed(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_idx(write(tmp_path, "images.gz", content), 3)


def test_a_black_image_is_a_bad_object(tmp_path, parts):
    images = np.ones((2, 3, 4), dtype=np.uint8)
    images[1] = 0
    write(tmp_path, "t10k-images-idx3-ubyte.gz", idx(images))
    settings = {"kind": "images", "files": [{"name": path.name} for path in parts[1]]}
    whole = config.load(ROOT / "config.yaml")
    whole["datasets"]["mnist"]["bad_objects"] = "skip"
    config.check(whole)
    with pytest.raises(InputError, match=r"1 of .*'t10k-00001' \(it is all black\)"):
        sample("mine", settings=settings, downloads=tmp_path, output=tmp_path / "a.safetensors")
    sample("mine", settings=settings | {"bad_objects": "skip"}, downloads=tmp_path, output=tmp_path / "a.safetensors")
    assert read_metadata(tmp_path / "a.safetensors")["refused"] == {"t10k-00001": "it is all black"}


def test_damaged_gzip(tmp_path):
    path = write(tmp_path, "images.gz", GOOD)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"images\.gz is truncated or damaged"):
        read_idx(path, 3)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match=r"images\.gz is truncated or damaged"):
        read_idx(path, 3)


def test_files_that_do_not_belong_together(tmp_path, parts):
    _, paths = parts
    with pytest.raises(InputError, match=r"needs the file t10k-labels-idx1-ubyte\.gz"):
        read_images({}, paths[:-1])
    write(tmp_path, "t10k-labels-idx1-ubyte.gz", idx(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(InputError, match="t10k files hold 2 images but 3 labels"):
        read_images({}, paths)
    write(tmp_path, "t10k-labels-idx1-ubyte.gz", idx(np.zeros(2, dtype=np.uint8)))
    write(tmp_path, "t10k-images-idx3-ubyte.gz", idx(np.zeros((2, 4, 4), dtype=np.uint8)))
    with pytest.raises(InputError, match="test images"):
        read_images({}, paths)
