"""A deep mixture at work: it draws, varies and fills digits, and shows where one is odd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import gmcn
from gmcn.artifacts import read_metadata
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.inference.outliers import deviations
from gmcn.training import train


@pytest.fixture(scope="module")
def deep(density, tmp_path_factory):
    """A network of two mixtures, the lower one at 3 x 3 positions."""
    folder = tmp_path_factory.mktemp("deep")
    training = {"optimizer": "em", "epochs": 10, "classes": [0, 1, 2, 3, 4], "validation_fraction": 0}
    network = {"kind": "dcgmm", "layers": ["F4,2", "G16", "F3", "G25"], "largest": 16.0}
    settings = {"task": "density", "network": network, "training": training}
    train(density.points, settings=settings, seed=0, output=folder, device="cpu", threads=1)
    return folder


@pytest.fixture
def three(density, tmp_path):
    """A file of a digit."""
    data = read_split(density.points, TEST)
    Image.fromarray(data.inputs[data.labels == 3][0].numpy()).save(tmp_path / "three.png")
    return tmp_path / "three.png"


def test_options_of_drawing_reach_the_network(deep):
    network = gmcn.load(deep)
    expected = network.sample(5, torch.Generator().manual_seed(3), top=2, divisor=4.0, sharpen=2)
    found = gmcn.generate(deep, 5, 3, top=2, divisor=4.0, sharpen=2, device="cpu")
    assert torch.equal(found.samples, expected)
    assert found.largest == 16
    plain = gmcn.generate(deep, 5, 3, device="cpu").samples
    assert torch.equal(plain, network.sample(5, torch.Generator().manual_seed(3)))
    assert not torch.equal(plain, expected)


def test_samples_of_a_class_come_from_components_that_have_it(deep):
    trained = read_metadata(deep / "model.safetensors")["trained"]
    classes = torch.tensor(trained["classes"])
    assert classes.shape == (25, 5)
    samples = gmcn.generate(deep, 60, class_name="0", device="cpu").samples
    components = gmcn.load(deep).assign(samples)
    assert classes[components, 0].mean() > 0.6


def test_variants_of_a_lower_level_are_closer_and_a_kept_part_stays(deep, three):
    image = torch.from_numpy(np.asarray(Image.open(three)).copy()).float()
    far, near = (
        gmcn.generate(deep, 20, like=three, level=level, device="cpu").samples.sub(image).square().mean()
        for level in (None, 1)
    )
    assert near < far
    filled = gmcn.generate(deep, 20, like=three, keep="left", device="cpu").samples
    assert torch.equal(filled[:, :, :4], image[:, :4].expand(20, 8, 4))
    with pytest.raises(InputError, match="level is 3, and there are 2 mixtures"):
        gmcn.generate(deep, like=three, level=3, device="cpu")


def test_maps_rise_where_an_image_was_altered(deep, three, tmp_path):
    metadata = read_metadata(deep / "model.safetensors")
    image = np.asarray(Image.open(three)).copy()
    altered = image.copy()
    altered[4:, 4:] = 16 - altered[4:, 4:]
    pair = torch.from_numpy(np.stack([image, altered]))
    maps = deviations(gmcn.load(deep), pair, metadata, deep)
    assert list(maps) == ["mixture 1"]
    more = (maps["mixture 1"][1] - maps["mixture 1"][0]).numpy()
    assert more.shape == (3, 3)
    assert more[1:, 1:].min() > 0.5  # windows with altered pixels
    assert more[0].tolist() == more[:, 0].tolist() == [0] * 3
    gmcn.predict(deep, three, maps=f"{tmp_path}/maps/", device="cpu")
    assert [file.name for file in (tmp_path / "maps").iterdir()] == ["0001_three.png"]
