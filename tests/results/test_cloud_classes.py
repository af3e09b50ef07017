"""What a classifier says of clouds that a network makes."""

from __future__ import annotations

import pytest
import torch

from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.models.pointgmm import PointGMM
from gmcn.results.cloud_classes import PAIRS, STEPS, Classifier, blends, interpolations, pairs_of
from gmcn.results.cloud_samples import compare_clouds
from gmcn.results.networks import TrainedNetwork
from gmcn.results.sample_settings import SampleSettings
from gmcn.tasks.generation.measures_of_parts import make_chairs

CHAIRS = make_chairs(6, 1024)[0]


def test_a_classifier_of_objects_knows_chairs_from_dressers():
    classifier = Classifier("modelnet10_small")
    assert "chair" in classifier.classes
    told = []
    assert classifier.share("chair", CHAIRS, told.append) >= 5 / 6
    assert sum(told) == len(CHAIRS)
    assert classifier.share("chair", CHAIRS) == classifier.share("chair", 3 * CHAIRS + 1)  # it is normalised
    filled = torch.rand(3, 1024, 3, generator=torch.Generator().manual_seed(0))
    assert classifier.share("chair", filled) == 0


def test_a_network_that_classifies_no_such_clouds_is_refused():
    for name in ("mnist_small", "mnist_dcgmm-3la"):
        with pytest.raises(InputError, match=f"samples.classifier: {name} does not classify clouds"):
            Classifier(name)


def test_pairs_are_of_others_where_there_are_enough():
    assert len(pairs_of(100).unique()) == 100
    few = pairs_of(3)
    assert few.shape == (PAIRS, 2)
    assert set(few.flatten().tolist()) == {0, 1, 2}
    assert all((pairs_of(count).diff(dim=1) != 0).all() for count in (2, 3, 99, 100, 101))


def test_a_blend_has_points_of_both_ends_the_more_of_the_second_the_further():
    objects = torch.stack([torch.full((40, 3), float(place)) for place in range(100)])
    mixed = blends(objects).view(PAIRS, STEPS, 40, 3)[..., 0]
    pairs = pairs_of(100)
    for way, (first, second) in zip(mixed, pairs.tolist(), strict=True):
        assert set(way.unique().tolist()) <= {first, second}
    shares = (mixed == pairs[:, None, 1:]).float().mean((0, 2))
    assert shares.tolist() == pytest.approx([step / (STEPS + 1) for step in range(1, STEPS + 1)], abs=0.04)


def test_interpolations_are_between_the_ends_and_twice_the_same():
    network = PointGMM(latent=4, width=8, splits=1, encoder=[8, 16], seed=0).eval()
    objects = torch.rand(4, 30, 3, generator=torch.Generator().manual_seed(1))
    found = interpolations(network, objects)
    assert found.shape == (PAIRS * STEPS, 30, 3)
    assert torch.equal(found, interpolations(network, objects))


@pytest.mark.parametrize("name", ["chair", "cup"])
def test_shares_are_of_the_class_that_the_objects_are_of(name, caplog):
    caplog.set_level("INFO")
    network = PointGMM(latent=4, width=8, splits=1, encoder=[8, 16], seed=0).eval()
    chairs = ObjectSet("points", CHAIRS, torch.ones(6).long(), list("abcdef"), {"class_names": ["box", name]})
    settings = SampleSettings(sets=1, emd_points=16, classifier="modelnet10_small")
    trained = TrainedNetwork(0, network, {}, {"path": "model"})
    found = compare_clouds([trained], chairs, chairs, settings)["0"]
    shares = {key: value for key, value in found.items() if key.startswith("class_")}
    if name == "cup":
        assert not shares
        assert "modelnet10_small judges two or more objects of one of its classes, of 1024 points each" in caplog.text
    else:
        assert set(shares) == {"class_test", "class_blends", "class_between", "class_samples"}
        assert shares["class_test"] >= 5 / 6
        assert shares["class_between"] == shares["class_samples"] == 0
