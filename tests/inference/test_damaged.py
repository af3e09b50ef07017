"""`gmcn predict` on untrusted images, artifacts and networks gives a result or one sentence."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.pictures import parse_image
from gmcn.errors import InputError
from gmcn.inference import predict
from gmcn.models.loading import load
from tests.damage import EDITS, VALUES, altered, fuzz, malicious, outcome, replaced
from tests.data.files import npy

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def picture(kind: str, **options) -> bytes:
    target = io.BytesIO()
    Image.fromarray(GREY).save(target, kind, **options)
    return target.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body


def saved(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


IMAGES = [("a.png", picture("PNG")), ("a.png", picture("PNG", optimize=True)), ("a.pgm", picture("PPM")),
          ("a.pgm", b"P2 4 2 255\n" + b"1 2 3 4 5 6 7 8\n"), ("a.npy", saved(GREY)), ("a.npy", saved(GREY / 2)),
          ("a.png", picture("JPEG")), ("a.png", picture("GIF")), ("a.png", picture("TIFF"))]  # fmt: skip


@fuzz(500)
@given(st.sampled_from(IMAGES), EDITS, st.sampled_from([1, 3]))
def test_altered_images(image, edits, power):
    name, content = image
    found, _ = outcome(parse_image, altered(content, edits, power), name)
    assert found is None or (found.ndim == 2 and found.size)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", png(1 << 30, 1 << 30), "decompression bomb"),
        ("a.png", png(9000, 9000, bytes(81_009_000)), "9000 x 9000 pixels, more than"),
        ("a.pgm", b"P5 100000 100000 255\n", "decompression bomb"),
        ("a.png", png(8, 8, bytes(72), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50 << 20)))), "Decompressed data"),
        ("a.npy", npy("(1000000, 1000000)"), "ends before the array"),
        ("a.npy", npy("(" * 3000), "a.npy is no readable .npy"),
        ("a.npy", b"PK\x03\x04" + bytes(100), "a.npy is no readable .npy"),
        ("a.png", picture("JPEG"), "neither PNG nor PGM"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_bombs_and_other_formats(name, content, message):
    with pytest.raises(InputError, match=message):
        parse_image(content, name)


def test_a_pickle_is_never_loaded(tmp_path):
    with pytest.raises(InputError, match="Python objects, which are never loaded"):
        parse_image(saved(malicious(tmp_path)), "a.npy")
    assert not (tmp_path / "executed").exists()


def rewritten(path: Path, source: Path, place: float, value: Any) -> None:
    """A copy of an artifact in which something else stands somewhere in the metadata that are used."""
    tensors, metadata = load_tensors(source)
    used = [key for key in ("network", "class_names", "inputs", "names", "settings") if key in metadata]
    index, within = divmod(place * 0.999 * len(used), 1)
    metadata[used[int(index)]] = replaced(metadata[used[int(index)]], within, value)
    save_file(tensors, path, {key: json.dumps(part) for key, part in metadata.items()})


@fuzz(40)
@given(st.floats(0, 1), VALUES, EDITS)
def test_networks_of_strangers(tmp_path_factory, solids, place, value, edits):
    path = tmp_path_factory.getbasetemp() / "stranger.safetensors"
    mesh = next(solids.folder.rglob("*.off"))
    rewritten(path, solids.model, place, value)
    outcome(predict, path, mesh)
    path.write_bytes(altered(solids.model.read_bytes(), edits, 4))
    outcome(predict, path, mesh)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network", {"layers": [[10**6, 8], [10**6, 8]]}, "does not fit the network it describes: 'blocks.0"),
        ("network", {"kernel_components": 10**12}, "does not fit the network it describes"),
        ("network", {"layers": [8]}, "model.safetensors: the network cannot be built"),
        ("network", {"classes": 10**9}, "does not fit the network it describes"),
        ("inputs", {"data": {"points": 10**12}, "fit": {"components": 8}}, "does not say well .* numbers up to"),
        ("inputs", {"data": {"points": 96}, "fit": {"components": 10**12}}, "does not say well .* numbers up to"),
        ("inputs", {"data": {"size": [2**20, 2**20]}, "fit": {"components": 8}}, "does not say well .* numbers up to"),
        ("inputs", {"data": {"points": 96}, "fit": {}}, "does not say well .* 'components'"),
        ("inputs", [], "does not say"),
        ("class_names", ["a"], "does not name its 10 classes"),
    ],
    ids=str,
)
def test_networks_that_ask_for_too_much(tmp_path, solids, key, value, message):
    tensors, metadata = load_tensors(solids.model)
    value = {**metadata[key], **value} if key == "network" else value
    save_tensors(tmp_path / "model.safetensors", tensors, {**metadata, key: value})
    with pytest.raises(InputError, match=message):
        predict(tmp_path / "model.safetensors", next(solids.folder.rglob("*.off")))


@fuzz(40)
@given(st.floats(0, 1), VALUES, EDITS)
def test_mixtures_and_points_of_strangers(tmp_path_factory, solids, place, value, edits):
    path = tmp_path_factory.getbasetemp() / "objects.safetensors"
    for source in (solids.mixtures, solids.points):
        rewritten(path, source, place, value)
        outcome(predict, solids.model, path)
        tensors, metadata = load_tensors(source)
        name = sorted(tensors)[int(place * 0.999 * len(tensors))]
        save_tensors(path, {**tensors, name: tensors[name].flatten()[1:]}, metadata)
        outcome(predict, solids.model, path)
        path.write_bytes(altered(source.read_bytes(), edits, 4))
        outcome(predict, solids.model, path)


@fuzz(60)
@given(st.floats(0, 1), VALUES)
def test_results_of_strangers(tmp_path_factory, solids, place, value):
    path = tmp_path_factory.getbasetemp() / "stranger_result.json"
    content = json.loads(solids.result.read_text())
    path.write_text(json.dumps(replaced({key: content[key] for key in ("models", "files", "settings")}, place, value)))
    outcome(load, path)
