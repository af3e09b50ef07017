"""What networks that register clouds are set beside."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from gmcn.config.sections import RIVALS
from gmcn.data import sample
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.registration.pairs import draw_pairs
from gmcn.results import registration_references
from gmcn.results.registration_references import REGISTRATION, installed, middles
from gmcn.results.rivals import compare
from gmcn.tasks.registration import measures_of_poses
from gmcn.tasks.registration.measures_of_poses import measured, numbers


@pytest.fixture(scope="module")
def chairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("rivals") / "chairs.safetensors"
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 3, "points": 256, "normalize": True}
    sample("chairs", settings={**settings, "classes": ["table"]}, downloads=None, output=path)
    return path


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(measures_of_poses, "DRAWS", 2)
    monkeypatch.setattr(measures_of_poses, "FEWER", 1)


def test_every_rival_has_a_name_for_tables():
    assert [name for name, rival in RIVALS.items() if rival.task == "registration"] == list(REGISTRATION)


def test_the_search_without_training_is_measured_as_networks_are(chairs, few, tmp_path):
    found = compare(chairs, rival="registration-search", output=tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["objects"] == {"train": 0, "of": 0, "test": 3}
    assert {"under_10", "median", "any_mode", "weight", "wholes", "noise", "milliseconds"} <= found["metrics"].keys()
    assert "alone" not in found["metrics"]
    assert len(found["details"]["degrees"]) == 6


def test_a_rival_without_its_package_says_how_it_is_installed(chairs, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"registration-icp needs open3d: pip install -c constraints\.txt open3d"):
        compare(chairs, rival="registration-icp", output=tmp_path / "found.json")
    assert not installed("registration-gicp")
    assert installed("registration-search")


def test_objects_that_are_no_clouds_are_refused(tmp_path):
    path = tmp_path / "digits.safetensors"
    sample("digits", settings={"kind": "digits", "test_fraction": 0.5}, downloads=None, output=path)
    with pytest.raises(InputError, match="networks that register clouds, and these are images"):
        compare(path, rival="registration-search", output=tmp_path / "found.json")


def test_middles_lie_on_each_other():
    source, target = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, 2, 3])
    pose = torch.from_numpy(middles(source, target, torch.diag(torch.tensor([-1.0, -1, 1])).double().numpy()))
    moved = source.double().mean(0) @ pose[:3, :3].mT + pose[:3, 3]
    torch.testing.assert_close(moved, target.double().mean(0))


@pytest.mark.parametrize("rival", [name for name in REGISTRATION if name != "registration-search"])
def test_other_libraries_find_a_small_turn_of_a_whole(chairs, rival):
    if not installed(rival):
        pytest.skip(f"{rival} is not installed")
    setting = registration_references.Setting(within=5, shift=0.01)
    pairs = draw_pairs(read_split(chairs, TEST).inputs.float(), setting, 1)
    assert numbers(pairs, measured(pairs, REGISTRATION[rival][0](setting)))["median"] < 10
