"""CIFAR's binary version: made-up archives of the same format, good ones and every kind of bad one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gmcn import config, fitting
from gmcn.artifacts import read_metadata
from gmcn.data import sample
from gmcn.data.cifar import read_cifar
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.results import compare
from gmcn.training import train
from tests.config.examples import REAL
from tests.data.files import read

PIXELS = 3072
OWN = {"kind": "cifar", "files": [{"name": "cifar.tar.gz"}]}


def records(count: int, classes: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [count, L], one column for each number of classes, and pictures [count, 3072] that tell the last one."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, number, count) for number in classes], 1).astype(np.uint8)
    pictures = rng.integers(0, 60, (count, PIXELS), dtype=np.uint8)
    pictures[np.arange(count), labels[:, -1]] = 255
    return labels, pictures


def cifar10(**changes: bytes | None) -> dict[str, bytes]:
    """The files of an archive; None leaves one out."""
    parts = {f"data_batch_{number}.bin": number for number in range(1, 6)} | {"test_batch.bin": 6}
    files = {name: np.hstack(records(8, [10], seed)).tobytes() for name, seed in parts.items()}
    files["batches.meta.txt"] = b"".join(b"class%d\n" % number for number in range(10)) + b"\n"
    files["readme.html"] = b"not read"
    return {name: content for name, content in (files | changes).items() if content is not None}


def cifar100() -> dict[str, bytes]:
    files = {
        name: np.hstack(records(20, [20, 100], seed)).tobytes() for seed, name in enumerate(("train.bin", "test.bin"))
    }
    for name, number in (("coarse", 20), ("fine", 100)):
        files[f"{name}_label_names.txt"] = "".join(f"{name}_{index}\n" for index in range(number)).encode()
    return files


def packed(folder: Path, files: dict[str, bytes], name: str = "cifar.tar.gz") -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(f"cifar-binary/{member}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_cifar10(tmp_path):
    samples = read_cifar(OWN, [packed(tmp_path, cifar10())])
    expected = [records(8, [10], seed) for seed in range(1, 7)]
    assert samples.labels.tolist() == np.concatenate([labels for labels, _ in expected])[:, 0].tolist()
    assert np.array_equal(read(samples, "vectors"), np.concatenate([pictures for _, pictures in expected]))
    assert samples.split.tolist() == [TRAIN] * 40 + [TEST] * 8
    assert samples.class_names == [f"class{number}" for number in range(10)]
    assert (samples.names[39], samples.names[40]) == ("train-00039", "test-00000")


@pytest.mark.parametrize(("wanted", "column", "number"), [("fine", 1, 100), ("coarse", 0, 20)])
def test_cifar100(tmp_path, wanted, column, number):
    samples = read_cifar(OWN | {"labels": wanted}, [packed(tmp_path, cifar100())])
    labels, pictures = records(20, [20, 100], 0)
    assert samples.labels[:20].tolist() == labels[:, column].tolist()
    assert np.array_equal(read(samples, "vectors")[:20], pictures)
    assert samples.class_names == [f"{wanted}_{index}" for index in range(number)]


GOOD = cifar10()


@pytest.mark.parametrize(
    ("changes", "settings", "part"),
    [
        (
            {"data_batch_2.bin": GOOD["data_batch_2.bin"][:-5]},
            {},
            "data_batch_2.bin is truncated or of another format: 24,579 bytes are no whole records of 3,073",
        ),
        ({"test_batch.bin": b""}, {}, "test_batch.bin is truncated or of another format: 0 bytes"),
        ({"data_batch_4.bin": None, "test_batch.bin": None}, {}, "lacks data_batch_4.bin, test_batch.bin of CIFAR's"),
        ({"data_batch_1.bin": None}, {}, "lacks data_batch_1.bin of CIFAR's binary version"),
        ({"batches.meta.txt": None}, {}, "lacks batches.meta.txt"),
        ({"data_batch_1.bin": b"\x0a" + bytes(PIXELS)}, {}, "'train-00000' .* has label 10, but there are 10 classes"),
        ({}, {"labels": "coarse"}, "has fine labels alone; leave `labels: coarse` out"),
    ],
)
def test_a_bad_archive_is_one_sentence(tmp_path, changes, settings, part):
    packed(tmp_path, cifar10(**changes))
    with pytest.raises(InputError, match=part) as error:
        sample("mine", settings=OWN | settings, downloads=tmp_path, output=tmp_path / "points.safetensors")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "points.safetensors").exists()


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_truncated_archive_is_one_sentence(tmp_path, share):
    path = packed(tmp_path, cifar10())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        InputError, match=r"cifar.tar.gz is truncated or no .tar.gz .*; delete it and download it again"
    ):
        read_cifar(OWN, [path])


def test_what_is_no_archive_and_what_are_two(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"is truncated or no .tar.gz"):
        read_cifar(OWN, [path])
    with pytest.raises(InputError, match="is one archive; it has"):
        read_cifar(OWN, [path, path])


def test_a_member_that_is_a_link_is_none(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("data_batch_1.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(InputError, match=r"lacks data_batch_1\.bin"):
        read_cifar(OWN, [path])


def test_the_data_sets_of_the_configuration_train_a_perceptron(tmp_path):
    """By the names of their published files, as the stages do it."""
    for name, files in (("cifar10", cifar10()), ("cifar100", cifar100())):
        settings = config.stage_settings(REAL, "sample", name, None)
        packed(tmp_path, files, settings["files"][0]["name"])
        points = tmp_path / f"{name}.safetensors"
        sample(name, settings=settings, downloads=tmp_path, output=points)
        assert read_metadata(points)["picture"] == [3, 32, 32]
        data = read_split(points, TRAIN)
        assert (data.kind, data.inputs.dtype, data.traits["shape"]) == ("vectors", torch.uint8, [PIXELS])
        own = config.stage_settings(REAL, "train", name, "mlp")
        own["training"] |= {"epochs": 1, "batch_size": 10, "validation_fraction": 0.0}
        out = tmp_path / f"run-{name}"
        train(points, settings=own, seed=0, output=out, device="cpu", threads=1)
        assert (out / "model.safetensors").is_file()
        found = compare(points, rival="nearest-neighbour", output=tmp_path / "rival.json")
        assert found["objects"]["of"] == len(data)
    with pytest.raises(
        InputError, match="holds vectors, to which no mixture is fitted; train on them with `fit: null`"
    ):
        fitting.fit(
            points,
            settings={"method": "kmeans", "components": 4},
            output=tmp_path / "fit.safetensors",
            dataset="c",
            name="k",
        )
