"""What a density says of files besides their likelihood: outlier or not, a class, and where in an image it is odd."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import gmcn
from gmcn import cli
from gmcn.artifacts import load_tensors, save_tensors
from gmcn.data.objects import TEST
from gmcn.errors import InputError
from gmcn.inference.outliers import FAR, PANEL, TITLE, deviations
from gmcn.models import GMM

SIDE = PANEL // 8  # pixels for one of the image's


def blocks(network, inputs):
    """Layers as of a deep mixture: four by four positions of two by two pixels, unlikely where they are bright."""
    values = -torch.nn.functional.avg_pool2d(inputs.float()[:, None], 2)[:, 0]
    whole = network(inputs)[:, None, None]
    return [{"name": "mixture 1", "log_likelihood": values}, {"name": "mixture 2", "log_likelihood": whole}]


@pytest.fixture
def deep(density, monkeypatch, tmp_path):
    """A density with such layers, whose file says what is usual: -3 ± 2 in each position, and always 0 in the first."""
    monkeypatch.setattr(GMM, "layers", blocks)
    tensors, metadata = load_tensors(density.model)
    mean, std = np.full((4, 4), -3.0), np.full((4, 4), 2.0)
    mean[0, 0] = std[0, 0] = 0
    usual = {"mean": mean.tolist(), "std": std.tolist()}
    metadata["trained"]["layers"] = [usual, {"mean": [[50.0]], "std": [[9.0]]}]
    save_tensors(tmp_path / "deep.safetensors", tensors, metadata)
    return tmp_path / "deep.safetensors"


@pytest.fixture
def odd(tmp_path):
    """A file of an image that is 8 in its lower right quarter, and -1 deviations from the usual where it is 1."""
    image = np.ones((8, 8), dtype=np.uint8)
    image[4:, 4:] = 8
    image[:2, :2] = 0
    Image.fromarray(image).save(tmp_path / "odd.png")
    return tmp_path / "odd.png"


def test_the_threshold_keeps_a_share_of_the_training_objects(density, capsys, tmp_path):
    objects, _ = load_tensors(density.points)
    found = gmcn.predict(density.model, density.points, inliers=0.9, device="cpu")
    flags = torch.tensor([entry.answer["outlier"] for entry in found])
    likelihoods = torch.tensor([entry.answer["log_likelihood"] for entry in found], dtype=torch.float64)
    assert likelihoods[flags].max() < likelihoods[~flags].min()
    known, test = objects["labels"] < 5, objects["split"] == TEST
    assert flags[known & ~test].double().mean() == pytest.approx(0.1, abs=0.04)  # a tenth was held out
    assert flags[~known & test].double().mean() > 0.5
    output = tmp_path / "said.json"
    arguments = ["predict", str(density.model), str(density.points), "--inliers", "0.9", "--output", str(output)]
    assert cli.main([*arguments, "--device", "cpu"]) == 0
    columns = ["log_likelihood", "less_likely", "class", "probability", "outlier"]
    assert capsys.readouterr().out.splitlines()[0].split() == ["file", *columns]
    said = json.loads(output.read_text())["predictions"]
    assert [entry["outlier"] for entry in said] == flags.tolist()


def test_an_extreme_file_changes_nothing_about_the_others(density, tmp_path):
    image = np.zeros((8, 8), dtype=np.float32)
    image[2:6, 3] = 9
    names = [str(tmp_path / f"{place}.npy") for place in range(3)]
    for name, value in zip(names, (9, 8, 1e30), strict=True):
        np.save(name, np.where(image > 0, np.float32(value), image))
    refused = []
    alone = gmcn.predict(density.model, names[:2], device="cpu")
    together = gmcn.predict(density.model, names, device="cpu", refuse=refused.append)
    assert [entry.answer.keys() for entry in together[:2]] == [entry.answer.keys() for entry in alone]


def test_digits_get_the_class_of_the_components_that_they_belong_to(density):
    found, (objects, _) = gmcn.predict(density.model, density.points, device="cpu"), load_tensors(density.points)
    test = (objects["labels"] < 5) & (objects["split"] == TEST)
    right = [
        found[place].class_name == str(label) for place, label in enumerate(objects["labels"].tolist()) if test[place]
    ]
    assert sum(right) / len(right) > 0.85
    assert all(0.2 <= entry.probability <= 1 for entry in found)
    assert {entry.class_name for entry in found} == set("01234")


def test_a_map_is_in_deviations_below_the_mean_of_the_training_objects(deep, odd):
    network, metadata = gmcn.load(deep), load_tensors(deep)[1]
    image = torch.from_numpy(np.asarray(Image.open(odd)).copy())
    maps = deviations(network, image[None], metadata, deep)
    assert maps.keys() == {"mixture 1"}  # the other has one position
    expected = torch.full((4, 4), -1.0)
    expected[2:, 2:] = 2.5
    expected[0, 0] = 0
    torch.testing.assert_close(maps["mixture 1"][0].float(), expected)
    brighter = deviations(network, image[None] + 1, metadata, deep)["mixture 1"]
    assert brighter[0, 0, 0] == pytest.approx(1000)  # one nat, where all training images are alike


def test_pictures_show_where_an_image_is_odd(deep, odd, tmp_path, capsys):
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(other)
    arguments = ["predict", str(deep), str(odd), str(other), "--device", "cpu", "--maps"]
    assert cli.main([*arguments, f"{tmp_path / 'maps'}/"]) == 0
    assert sorted(file.name for file in (tmp_path / "maps").iterdir()) == ["0001_odd.png", "0002_other.png"]
    picture = np.asarray(Image.open(tmp_path / "maps/0001_odd.png"))
    size = 8 * SIDE
    assert picture.shape == (TITLE + size + 2, 2 * (size + 2), 3)
    shown, drawn = picture[TITLE:-2, :size], picture[TITLE:-2, size + 2 : -2].sum(-1)
    assert shown[-1, -1].tolist() == [255] * 3
    assert shown[0, 0].tolist() == [0] * 3
    assert (drawn[: 2 * SIDE] < 10).all()
    assert (drawn[4 * SIDE :, 4 * SIDE :] > 300).all()
    assert (drawn[4 * SIDE :, : 4 * SIDE] < 10).all()
    assert cli.main([*arguments, str(tmp_path / "all.png")]) == 0
    both = np.asarray(Image.open(tmp_path / "all.png"))
    assert np.array_equal(both[: len(picture)], picture)
    assert len(both) == 2 * len(picture)
    assert FAR > 2.5  # or the picture above would not say more than white


@pytest.mark.parametrize("inliers", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_a_share_lies_between_nothing_and_all(density, inliers):
    with pytest.raises(InputError, match=r"the share of inliers is .*, but must be between 0 and 1"):
        gmcn.predict(density.model, density.points, inliers=inliers, device="cpu")


def test_what_has_no_maps_or_threshold_is_one_sentence(density, deep, odd, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"cannot draw maps\.jpg: its name must end in \.png, or in / for a folder"):
        gmcn.predict(deep, odd, maps="maps.jpg", device="cpu")
    with pytest.raises(InputError, match="does not say how likely parts of its training images were; train it again"):
        gmcn.predict(density.model, odd, maps=tmp_path / "a.png", device="cpu")
    with pytest.raises(InputError, match="only a density has outliers"):
        gmcn.predict("digits_treehem2", odd, inliers=0.9, device="cpu")
    monkeypatch.undo()
    for model in (deep, "digits_treehem2"):
        with pytest.raises(InputError, match=r"is no density with several positions in an image, such as .*: no maps"):
            gmcn.predict(model, odd, maps=tmp_path / "a.png", device="cpu")
    assert not (tmp_path / "a.png").exists()


def test_a_damaged_file_is_one_sentence(deep, odd, tmp_path):
    tensors, metadata = load_tensors(deep)
    for layers in ([{"mean": [[1.0, 2.0]], "std": [["x", 2.0]]}], [{"mean": [[1.0]] * 3, "std": [[1.0]] * 3}] * 2):
        metadata["trained"]["layers"] = layers
        save_tensors(tmp_path / "model.safetensors", tensors, metadata)
        with pytest.raises(InputError, match="does not say well how likely parts of its training images were"):
            gmcn.predict(tmp_path / "model.safetensors", odd, maps=f"{tmp_path}/maps/", device="cpu")
    for trained in (["quantiles"], {"quantiles": "many"}):
        save_tensors(tmp_path / "model.safetensors", tensors, {**metadata, "trained": trained})
        with pytest.raises(InputError, match="does not say well how likely its training objects were"):
            gmcn.predict(tmp_path / "model.safetensors", odd, inliers=0.9, device="cpu")
