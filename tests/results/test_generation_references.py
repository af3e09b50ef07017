"""The rivals of networks that generate clouds."""

from __future__ import annotations

import json
import math
import statistics

import pytest
import torch

from gmcn.artifacts import save_tensors
from gmcn.data import sample
from gmcn.data.objects import TEST, TRAIN, read_split
from gmcn.data.views import parted
from gmcn.errors import InputError
from gmcn.results import generation_references, shape_em
from gmcn.results.cloud_sets import MEASURES, compare_sets
from gmcn.results.generation_references import GENERATION
from gmcn.results.rivals import compare

POINTS = 64


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables alone: 12 for training, 5 for the test."""
    path = tmp_path_factory.mktemp("rivals") / "tables.safetensors"
    settings = {"kind": "solids", "train_per_class": 12, "test_per_class": 5, "points": POINTS, "normalize": True}
    sample("tables", settings={**settings, "classes": ["table"]}, downloads=None, output=path)
    return path


@pytest.fixture
def small(monkeypatch):
    """Fewer components and floors."""
    monkeypatch.setattr(shape_em, "COMPONENTS", (2, 4, 64))
    monkeypatch.setattr(shape_em, "FLOORS", (1e-4, 1e-2))
    monkeypatch.setattr(generation_references, "COVERAGES", (0.5, 0.8))


@pytest.mark.parametrize("rival", GENERATION)
def test_results_of_one_class_and_again_the_same(tables, tmp_path, small, rival):
    found = compare(tables, rival=rival, output=tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["objects"] == {"train": 12, "of": 12, "test": 5}
    assert len(found["names"]) == 5
    again = compare(tables, rival=rival, output=tmp_path / "again.json")
    assert again["metrics"] == found["metrics"]


def test_training_objects_are_the_ceiling_and_copies(tables, tmp_path):
    found = compare(tables, rival="generation-training", output=tmp_path / "found.json")
    sets = found["details"]["sets"]
    assert len(sets) == 5
    nna = [one["nna_chamfer"] for one in sets]
    assert found["metrics"]["nna_chamfer"] == {"mean": statistics.fmean(nna), "std": statistics.stdev(nna)}
    assert found["metrics"]["copies"] == {"mean": 0, "std": 0}
    assert (sets[0]["samples"], sets[0]["reference"]) == (5, 5)


def test_sets_share_no_object_where_there_are_enough(tables, monkeypatch):
    drawn = []
    train, test = read_split(tables, TRAIN).inputs, read_split(tables, TEST).inputs

    class Reference:
        def __init__(self, reference, training):
            assert len(reference) == 2

        def searches(self, count):
            return count

        def compare(self, samples, progress):
            drawn.append(samples)
            return dict.fromkeys(MEASURES, 0.0)

    monkeypatch.setattr(generation_references, "Reference", Reference)
    monkeypatch.setattr(generation_references, "COUNT", 2)
    generation_references.training_objects(train, test)
    assert [len(one) for one in drawn] == [2] * 5
    assert len(torch.cat(drawn).unique(dim=0)) == 10
    drawn.clear()
    generation_references.training_objects(train[:3], test)
    assert [len(one) for one in drawn] == [2] * 5


def test_em_is_chosen_on_training_objects_and_measured_on_others(tables, tmp_path, small):
    from sklearn.mixture import GaussianMixture

    found = compare(tables, rival="generation-em", output=tmp_path / "found.json")
    details = found["details"]
    assert details["points"] == [32, 32]
    train, test = (read_split(tables, part).inputs.double() for part in (TRAIN, TEST))
    theirs = details["sklearn"]
    assert theirs["by_components"].keys() == {"2", "4"}  # 64 are more than the points
    for n, row in theirs["by_components"].items():
        for objects, value in ((train, row["training"][str(row["floor"])]), (test, row["log_likelihood"])):
            model = GaussianMixture(int(n), reg_covar=row["floor"], random_state=0)
            halves = zip(*parted(objects, 32), strict=True)
            scores = [model.fit(one.numpy()).score(other.numpy()) for one, other in halves]
            assert value == pytest.approx(statistics.fmean(scores))
        assert row["training"][str(row["floor"])] == max(row["training"].values())
    for method in ("sklearn", "compiled"):
        one = details[method]
        chosen = one["chosen"]
        assert chosen["training"] == max(
            value for row in one["by_components"].values() for value in row["training"].values()
        )
        row = one["by_components"][str(chosen["components"])]
        assert statistics.fmean(one["log_likelihoods"]) == pytest.approx(row["log_likelihood"])
        assert row["seconds"] > 0
    best = details[details["best"]]
    assert best["chosen"]["training"] == max(details[name]["chosen"]["training"] for name in shape_em.METHODS)
    likelihood = best["by_components"][str(best["chosen"]["components"])]["log_likelihood"]
    assert found["metrics"] == {"log_likelihood": {"mean": likelihood, "std": None}}


def test_both_ways_of_em_find_about_the_same():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 1]], dtype=torch.float64)
    places = torch.randint(3, (2, 400), generator=generator)
    points = centres[places] + 0.05 * torch.randn(2, 400, 3, generator=generator, dtype=torch.float64)
    values = [method(points[:, :200], points[:, 200:], 3, 1e-6) for method in shape_em.METHODS.values()]
    torch.testing.assert_close(*values, rtol=0.01, atol=0)


def test_points_alone_are_a_kernel_density_by_a_bandwidth_that_training_objects_choose(tables, small):
    train, test = (read_split(tables, split).inputs for split in (TRAIN, TEST))
    told = []
    found = shape_em.per_shape(train, test, told.append)["kernels"]
    assert sum(told) == shape_em.fits(test.shape[1], len(train), len(test))
    assert found["training"][str(found["bandwidth"])] == max(found["training"].values())
    seen, others = parted(test.double(), 32)
    squares = torch.cdist(others, seen).square()
    logs = -squares / (2 * found["bandwidth"] ** 2) - 1.5 * math.log(2 * math.pi * found["bandwidth"] ** 2)
    assert found["log_likelihood"] == pytest.approx((logs.logsumexp(-1) - math.log(32)).mean().item())
    assert found["bytes"] == 32 * 12


def test_the_nearest_training_object_completes_views(tables, tmp_path, small):
    found = compare(tables, rival="completion-nearest", output=tmp_path / "found.json")
    completions = found["details"]["completions"]
    assert completions.keys() == {"0.5", "0.8"}
    assert found["metrics"]["completion"]["mean"] == completions["0.5"]["chamfer"]
    each = found["details"]["half"]
    assert statistics.fmean(each["whole"]) == pytest.approx(completions["0.5"]["whole"])
    assert len(each["nearest"]) == 5
    # Of a training object it is the object itself, without an error.
    train = read_split(tables, TRAIN).inputs
    metrics = generation_references.nearest_training(train, train[[3, 5]])["metrics"]
    assert metrics == {"completion": 0}


def test_what_generates_no_clouds_has_no_such_rival(tables, tmp_path):
    sample("digits", settings={"kind": "digits"}, downloads=None, output=tmp_path / "digits.safetensors")
    with pytest.raises(InputError, match=r"the rival generation-em is one of networks that generate clouds, .* images"):
        compare(tmp_path / "digits.safetensors", rival="generation-em", output=tmp_path / "found.json")
    few = read_split(tables, TRAIN).inputs[:, :14]
    with pytest.raises(InputError, match=r"objects of 14 points are too few for EM: half .* at least 8 components"):
        shape_em.per_shape(few, few, lambda count: None)
    enough = read_split(tables, TRAIN).inputs
    with pytest.raises(InputError, match="1 test object is too few for a standard deviation"):
        shape_em.per_shape(enough, enough[:1], lambda count: None)
    tensors = {"points": torch.rand(4, 32, 3), "split": torch.tensor([0, 0, 1, 1], dtype=torch.uint8)}
    save_tensors(tmp_path / "bare.safetensors", tensors, {})
    found = compare(tmp_path / "bare.safetensors", rival="generation-training", output=tmp_path / "found.json")
    assert found["metrics"]["nna_emd"]["mean"] >= 0  # no labels are needed


def test_the_measures_are_those_of_sets(tables):
    train, test = read_split(tables, TRAIN).inputs, read_split(tables, TEST).inputs
    first = generation_references.training_objects(train, test)["details"]["sets"][0]
    assert first.keys() == compare_sets(train[:5], test, train).keys()
    assert first.keys() > set(MEASURES)
