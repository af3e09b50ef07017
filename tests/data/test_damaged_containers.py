"""Damaged and hostile files of many objects: a result or one sentence, with little memory and nothing executed."""

from __future__ import annotations

import gzip
import io
import stat
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gmcn.artifacts import read_metadata
from gmcn.data import containers, sample
from gmcn.data import idx as idx_files
from gmcn.data import npz as npz_files
from gmcn.data.containers import list_files
from gmcn.data.idx import read_idx
from gmcn.data.npz import read_arrays
from gmcn.errors import InputError
from tests.damage import EDITS, altered, fuzz, malicious, outcome
from tests.data.test_damaged import exported, saved
from tests.data.test_idx import idx


def npz(**arrays: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    return target.getvalue()


def zipped(files: dict[str, bytes], compression: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in files.items():
            # A date of its own would be another file every time.
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return target.getvalue()


def test_a_member_without_a_name_is_no_object(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({**MESHES, "": b"OFF"}, zipfile.ZIP_STORED))
    assert "" in zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert sorted(list_files(tmp_path / "a.zip")) == sorted(MESHES)


CLOUDS = np.random.default_rng(0).normal(size=(4, 16, 3)).astype(np.float32)
LABELLED = {
    "label": np.arange(4) % 2,
    "is_train": np.arange(4) < 2,
    "name": np.array(["a", "b", "c", "d"]),
    "class_names": np.array([b"cup", b"bed"]),
}
MESHES = {f"{name}/{part}/{name}.off": exported("off") for name in ("cup", "bed") for part in ("train", "test")}


def sampled(kind: str, **settings):
    """The output of the stage `sample` for the data set in a file."""

    def read(path: Path) -> None:
        own = {"kind": kind, "points": 8, "sampling": "uniform", "normalize": True, **settings}
        own |= {"files": [{"name": path.name}]} if kind == "images" else {"path": str(path)}
        sample("a", settings=own, downloads=path.parent, output=path.with_name("out.safetensors"))

    return read


CONTAINERS = [
    (lambda path: read_idx(path, 3), "a-idx3-ubyte", idx(np.ones((2, 3, 4), dtype=np.uint8))),
    (lambda path: read_idx(path, 1), "a-idx1-ubyte.gz", gzip.compress(idx(np.arange(9, dtype=np.uint8)))),
    (sampled("clouds"), "a.npz", npz(points=CLOUDS, **LABELLED)),
    (sampled("clouds"), "a.npz", npz(points_u16=CLOUDS.astype(np.uint16), **LABELLED)),
    (read_arrays, "a.npz", npz(arr_0=CLOUDS)),
    (read_arrays, "a.npz", npz(points=CLOUDS, name=LABELLED["name"])),
    *(
        (sampled("meshes", bad_objects=bad), "a.zip", zipped(MESHES, compression))
        for bad in ("stop", "skip")
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ),
]


@fuzz(300)
@given(st.sampled_from(CONTAINERS), EDITS, st.sampled_from([0.3, 1, 3]))
def test_altered_files_give_a_result_or_a_sentence(tmp_path_factory, file, edits, power):
    """With the directory of a zip, which is its end, as likely as its beginning."""
    read, name, content = file
    folder = tmp_path_factory.getbasetemp() / "altered"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(altered(content, edits, power))
    outcome(read, folder / name)


ARRAYS = st.sampled_from([
    *(np.float64(3), np.zeros(0), np.zeros((4, 1)), np.zeros((4, 0, 3)), np.arange(4), -np.arange(4)),
    *(np.full((4, 16, 3), value) for value in (np.nan, 1e300, 1j)),
    *(np.array([value] * 4) for value in ("x\n<b>", b"\xff", "a" * 10**5, None, 2**63, np.datetime64(1, "D"))),
    *(np.zeros((4, 16, 3), dtype=">f8"), np.zeros((4, 16, 3), order="F"), np.zeros(4, dtype=[("a", "f4")])),
])  # fmt: skip


@fuzz(150)
@given(st.dictionaries(st.sampled_from(["points", "points_u16", *LABELLED]), ARRAYS, min_size=1, max_size=3))
@example({"name": np.array(["a" * 10**5] * 4), "label": np.arange(4)})
def test_arrays_of_other_kinds_give_a_result_or_a_sentence(tmp_path_factory, other):
    path = tmp_path_factory.getbasetemp() / "a.npz"
    path.write_bytes(npz(**{"points": CLOUDS, **LABELLED, **other}))
    outcome(sampled("clouds"), path)
    outcome(read_arrays, path)


@pytest.mark.parametrize(
    ("read", "name", "content", "message"),
    [
        (lambda path: read_idx(path, 1), "a.gz", gzip.compress(bytes(5 << 20)), "unpacks to more than 1,048,576 bytes"),
        (read_arrays, "a.npz", npz(points=np.zeros((100_000, 3))), "would unpack to 2,400,128 bytes"),
        (sampled("clouds"), "a.npz", npz(points=np.zeros((4, 50_000, 3)), **LABELLED), "larger than 1,048,576 bytes"),
        (
            sampled("clouds"),
            "a.npz",
            npz(points=CLOUDS, **(LABELLED | {"class_names": np.zeros((200_000), dtype="U3")})),
            "would unpack to 2,400,128 bytes",
        ),
    ],
)  # fmt: skip
def test_bombs_are_refused_with_little_memory(tmp_path, monkeypatch, read, name, content, message):
    for module in (idx_files, npz_files, containers):
        monkeypatch.setattr(module, "MAX_MEMBER", 1 << 20)
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_altered_bytes_of_every_compression_are_named(tmp_path, compression):
    content = bytearray(zipped({"cup/train/a.off": exported("off")}, compression))
    begin = content.index(b".off") + 4
    content[begin + 20 : begin + 60] = b"\n" * 40
    (tmp_path / "a.zip").write_bytes(content)
    _, sentence = outcome(sampled("meshes"), tmp_path / "a.zip")
    assert "a.off is truncated or damaged" in sentence


def test_long_names_in_a_zip_are_cut(tmp_path):
    """Of the member, and of another one where it begins."""
    for name in ("cup/train/" + "a" * 20_000 + ".off", "cup/train/a.off"):
        content = zipped({name: exported("off")}, zipfile.ZIP_STORED)
        header = content.index(b"PK\x03\x04") + 26
        longer = (30_000).to_bytes(2, "little")
        (tmp_path / "a.zip").write_bytes(content[:header] + longer + content[header + 2 :])
        _, sentence = outcome(sampled("meshes"), tmp_path / "a.zip")
        assert "1 of 1 objects of data set 'a' cannot be used" in sentence


def test_a_pickle_in_an_array_is_never_loaded(tmp_path):
    for name, content in (("a.npy", saved(malicious(tmp_path))), ("a.npz", npz(points=malicious(tmp_path)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"it holds Python objects, which are never loaded"):
            read_arrays(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_links_and_doubles_in_a_zip_are_members_like_any_other(tmp_path):
    """A link is the text of its target, and nothing is read there; of equal names the last one counts."""
    target = tmp_path / "secret.off"
    target.write_bytes(exported("off"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        link = zipfile.ZipInfo("cup/train/link.off")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(target))
        archive.writestr("cup/train/double.off", b"OFF\n")
        archive.writestr("cup/train/double.off", exported("off"))
    sampled("meshes", parts=["train"], bad_objects="skip")(tmp_path / "a.zip")
    metadata = read_metadata(tmp_path / "out.safetensors")
    assert metadata["names"] == ["double"]
    assert "expected the word OFF" in metadata["refused"]["link"]
