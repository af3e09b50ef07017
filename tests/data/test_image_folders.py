"""A user's folder of images: a data set as any other, and what a density trained on the good ones says of the bad."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import gmcn
from gmcn import config, data
from gmcn.data import containers
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.data.pictures import parse_image
from gmcn.errors import InputError
from gmcn.results import evaluate, samples
from gmcn.training import train
from tests.conftest import ROOT

SIDE = 12
TRAINING = {"classes": ["normal"], "optimizer": "em", "epochs": 10, "warmup_epochs": 0, "validation_fraction": 0}
SETTINGS = {"network": {"kind": "gmm", "components": 3}, "task": "density", "fit": None, "training": TRAINING}


def spot(rng: np.random.Generator, *, scratch: bool = False) -> np.ndarray:  # [SIDE, SIDE] uint8
    """A bright spot somewhere, perhaps with a scratch over it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    y, x = rng.uniform(4, 7, 2)
    image = 200 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) + rng.normal(0, 5, (SIDE, SIDE))
    if scratch:
        image[rng.integers(2, 10)] = 220
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images of good parts for training and testing, and of scratched ones to be found."""
    rng = np.random.default_rng(0)
    for place, count in (("normal/train", 60), ("normal/test", 15), ("scratched/test", 15)):
        (tmp_path / "parts" / place).mkdir(parents=True)
        for index in range(count):
            image = spot(rng, scratch=place.startswith("scratched"))
            Image.fromarray(image).save(tmp_path / "parts" / place / f"{index:03}.png")
    return tmp_path / "parts"


def sampled(folder: Path, output: Path, **more) -> None:
    data.sample("parts", settings={"kind": "images", "path": str(folder), **more}, downloads=None, output=output)


def test_values_classes_and_places_are_those_of_the_files(folder, tmp_path):
    np.save(folder / "normal/train/060.npy", np.full((SIDE, SIDE), 0.5))
    sampled(folder, tmp_path / "points.safetensors")
    train_set, test_set = (read_split(tmp_path / "points.safetensors", part) for part in (TRAIN, TEST))
    assert (train_set.kind, train_set.class_names) == ("images", ["normal", "scratched"])
    assert (len(train_set), test_set.labels.tolist()) == (61, [0] * 15 + [1] * 15)
    expected = np.asarray(Image.open(folder / "normal/train/007.png"))
    assert np.array_equal(train_set.inputs[train_set.names.index("007")].numpy(), expected.astype(np.float32))
    assert (train_set.inputs[-1] == 0.5).all()


def test_a_zip_holds_the_same_and_classes_may_have_another_order(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder.parent))
    for path, name in ((folder, "a"), (tmp_path / "parts.zip", "b")):
        sampled(path, tmp_path / f"{name}.safetensors", class_names=["scratched", "normal"])
    one, other = (read_split(tmp_path / f"{name}.safetensors", TEST) for name in "ab")
    assert (one.inputs == other.inputs).all()
    assert one.names == other.names
    assert one.labels.tolist() == other.labels.tolist() == [1] * 15 + [0] * 15


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (np.zeros((SIDE, SIDE + 1)), r"13 x 12 pixels, and the first image 12 x 12; crop or scale it"),
        (np.zeros((SIDE, SIDE, 2)), r"an image is numbers \[rows, columns\]"),
        (np.full((SIDE, SIDE), np.nan), "a value of its images is not finite"),
        (np.zeros((SIDE, SIDE)), "it is all black"),
    ],
)
def test_an_image_that_cannot_be_used_is_named_or_skipped(folder, tmp_path, content, part):
    np.save(folder / "normal/train/bad.npy", content)
    with pytest.raises(InputError, match=part):
        sampled(folder, tmp_path / "points.safetensors")
    sampled(folder, tmp_path / "points.safetensors", bad_objects="skip")
    assert len(read_split(tmp_path / "points.safetensors", TRAIN)) == 60


def test_a_damaged_first_image_sets_no_size(folder, tmp_path):
    (folder / "normal/test/000.png").write_bytes(b"none")
    sampled(folder, tmp_path / "points.safetensors", bad_objects="skip")
    assert len(read_split(tmp_path / "points.safetensors", TEST)) == 29


def test_images_of_other_classes_are_not_looked_at(folder, tmp_path, monkeypatch):
    (folder / "large/train").mkdir(parents=True)
    np.save(folder / "large/train/000.npy", np.ones((2 * SIDE, SIDE)))
    read, content_of = set(), containers.content_of
    monkeypatch.setattr(containers, "content_of", lambda path: read.add(path.parts[-3]) or content_of(path))
    sampled(folder, tmp_path / "points.safetensors", classes=["normal"])
    assert len(read_split(tmp_path / "points.safetensors", TEST)) == 15
    assert read == {"normal"}


def png(image: Image.Image, **options) -> bytes:
    target = io.BytesIO()
    image.save(target, "PNG", **options)
    return target.getvalue()


RAMP = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
WIDE = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)


@pytest.mark.parametrize(
    ("image", "clear"),
    [(RAMP, 5), (RAMP.convert("RGB"), (5, 5, 5)), (RAMP.convert("P"), 5), (RAMP.convert("P"), b"\xff\x80"),
     (RAMP.convert("1"), 0), (WIDE, 5000)],
)  # fmt: skip
def test_a_colour_that_is_transparent_is_refused(image, clear):
    with pytest.raises(InputError, match=r"a\.png is transparent in places"):
        parse_image(png(image, transparency=clear), "a.png")
    assert parse_image(png(image), "a.png").any()


def test_the_largest_value_of_a_file_changes_no_units():
    marks = (np.arange(64).reshape(8, 8) % 3 == 0) * np.uint8(255)
    assert np.array_equal(parse_image(png(Image.fromarray(marks).convert("1")), "a.png"), marks)
    for largest, white in ((1, 255), (15, 255), (1000, 65535)):
        text = f"P2 2 1 {largest}\n0 {largest}\n".encode()
        assert parse_image(text, "a.pgm").tolist() == [[0, white]]


def test_an_empty_folder_is_one_sentence(tmp_path):
    (tmp_path / "parts").mkdir()
    with pytest.raises(InputError, match=r"holds no <class>/<train\|test>/<name>\.png"):
        sampled(tmp_path / "parts", tmp_path / "points.safetensors")


def test_bad_images_are_found_by_what_was_trained_on_good_ones(folder, tmp_path):
    points, model = tmp_path / "points.safetensors", tmp_path / "seed0" / "model.safetensors"
    sampled(folder, points)
    train(points, settings=SETTINGS, seed=0, output=model.parent, device="cpu", threads=1)
    arguments = {"models": [model], "device": "cpu"}
    found = evaluate(points, output=tmp_path / "evaluation.json", settings={"task": "density"}, **arguments)["mean"]
    assert found["auc"] > 0.95
    assert found["outliers"] == {"scratched": found["auc"]}
    assert (found["nmi"], found["purity"], found["clusters"]["objects"]) == (None, None, 15)
    other = evaluate(points, output=tmp_path / "x.json", settings={"task": "density"}, outliers=points, **arguments)
    assert other["mean"]["auc_others"] == pytest.approx(found["auc"] / 2 + 0.25), (
        "half of them are good ones themselves"
    )
    with pytest.raises(InputError, match="this task finds no outliers"):
        evaluate(points, output=tmp_path / "x.json", outliers=points, **arguments)
    data.sample("digits", settings={"kind": "digits"}, downloads=None, output=tmp_path / "digits.safetensors")
    density = {"settings": {"task": "density"}, "outliers": tmp_path / "digits.safetensors"}
    with pytest.raises(
        InputError, match=r"images of shape \[8, 8\], and this network's objects images of shape \[12, 12"
    ):
        evaluate(points, output=tmp_path / "x.json", **density, **arguments)
    drawn = samples(points, output=tmp_path / "samples.json", settings={"count": 100}, **arguments)
    assert (drawn["bins"], drawn["missing"]) == (12, None)
    good, bad = (gmcn.predict(model, [folder / name / "test/003.png"])[0].answer for name in ("normal", "scratched"))
    assert bad["less_likely"] == 0 < good["less_likely"]
    assert json.loads((tmp_path / "evaluation.json").read_text())["class_names"] == ["normal", "scratched"]


def test_the_recipe_of_the_documentation_is_a_configuration():
    parts = (ROOT / "docs/mixtures.md").read_text().partition("datasets:\n  parts:")
    recipe = (parts[1] + parts[2]).partition("```")[0]
    real = config.load(ROOT / "config.yaml")
    whole = config.check(config.merge(real, yaml.safe_load(recipe)))
    settings = config.resolve(whole, "parts", "good-parts")
    assert (settings["task"], settings["training"]["classes"]) == ("density", ["normal"])
