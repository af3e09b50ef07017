"""The figures of PointGMM, of a tiny one trained on solids."""

from __future__ import annotations

import pytest
import torch

from gmcn.artifacts import read_json
from gmcn.config import COMPARED
from gmcn.data import sample
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.models.loading import load
from gmcn.papers.comparisons import draw
from gmcn.training import train

NAMES = [name for name, figure in COMPARED.items() if figure.section == "pointgmm"]
NETWORK = {"kind": "pointgmm", "latent": 6, "width": 16, "splits": 1, "encoder": [8, 16]}
TRAINING = {"epochs": 1, "batch_size": 4, "views": {"points": 40}, "validation_fraction": 0, "classes": ["table"]}
SETTINGS = {"datasets": ["shapes"], "objects": 3}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    points = folder / "shapes.safetensors"
    solids = {"kind": "solids", "train_per_class": 8, "test_per_class": 4, "points": 64, "normalize": True}
    sample("shapes", settings=solids, downloads=None, output=points)
    settings = {"task": "generation", "network": NETWORK, "training": TRAINING}
    train(points, settings=settings, seed=0, output=folder / "seed0", device="cpu", threads=1)
    return {"shapes_pointgmm": folder / "seed0/model.safetensors", "shapes_points": points}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_a_picture_and_a_page_with_numbers(inputs, tmp_path, name):
    written = draw(name, inputs=inputs, settings=SETTINGS, output=tmp_path / name)
    assert [path.name for path in written] == [f"{name}.png", f"{name}.html", f"{name}.json"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert "<html" in written[1].read_text()[:200]
    numbers, before = read_json(written[2]), written[0].read_bytes()
    draw(name, inputs=inputs, settings=SETTINGS, output=tmp_path / name)
    assert written[0].read_bytes() == before
    assert {**read_json(written[2]), "provenance": 0} == {**numbers, "provenance": 0}
    assert set(numbers["inputs"]) == set(inputs)


def drawn(name, inputs, tmp_path):
    return read_json(draw(name, inputs=inputs, settings=SETTINGS, output=tmp_path / "x")[2])


def test_levels_have_the_likelihood_of_what_is_not_seen(inputs, tmp_path):
    found = drawn("pointgmm-levels", inputs, tmp_path)
    objects = read_split(inputs["shapes_points"], TEST)
    first = objects.class_names.index("table") == objects.labels
    cloud = objects.inputs[first][:1]
    with torch.no_grad():
        tree = load(inputs["shapes_pointgmm"])(cloud[:, :40])
    assert [one["gaussians"] for one in found["levels"]] == [level.components for level in tree.levels]
    assert found["levels"][-1]["log_likelihood"] == pytest.approx(tree.leaves().log_prob(cloud[:, 40:]).mean().item())
    assert found["object"].startswith("table_test")


def test_interpolations_lead_from_one_object_to_the_other(inputs, tmp_path):
    found = drawn("pointgmm-interpolations", inputs, tmp_path)["interpolations"]
    assert all(len(set(way["objects"])) == 2 for way in found)
    assert [len(distances) for way in found for distances in way["chamfer"]] == 4 * [3]


def test_what_is_no_pointgmm_or_too_few_is_refused(inputs, tmp_path):
    with pytest.raises(InputError, match=r"pointgmm\.objects is 9"):
        draw("pointgmm-levels", inputs=inputs, settings={**SETTINGS, "objects": 9}, output=tmp_path / "x")
    other = {**inputs, "shapes_pointgmm": "pretrained/mnist_small/model.safetensors"}
    with pytest.raises(InputError, match=r"mnist_small/model\.safetensors is no PointGMM"):
        draw("pointgmm-levels", inputs=other, settings=SETTINGS, output=tmp_path / "x")
    with pytest.raises(InputError, match="shows shapes_points too"):
        draw("pointgmm-levels", inputs={"shapes_pointgmm": "x"}, settings=SETTINGS, output=tmp_path / "x")
