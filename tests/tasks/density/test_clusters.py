"""Clusters of objects by the components of a density, and what its layers are like."""

from __future__ import annotations

import itertools
import math
from unittest import mock

import pytest
import torch

from gmcn import tasks
from gmcn.data.objects import ObjectSet
from gmcn.models import Density, build
from gmcn.tasks.density import measures as module
from gmcn.tasks.density.measures_of_clusters import clustering, dunn
from gmcn.training import TrainingSettings

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
CLUSTERS = torch.tensor([4, 4, 4, 4, 7, 7])  # whose numbers mean nothing


class Layered(Density):
    """Two layers: one at 2 x 3 positions, whose values are known, and one of the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.of_one = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        return inputs.flatten(1).sum(1)

    def layers(self, inputs):
        whole = inputs.flatten(1).mean(1)[:, None, None]
        parts = {"name": "parts", "log_likelihood": inputs, "bound": inputs - 1}
        return [parts, {"name": "whole", "log_likelihood": whole, "bound": whole - 2}]

    def about_layers(self):
        known = {"components": 4, "dim": 1, "cap": 20.0, "dead": 1, "sparsity": 0.5}
        return [{"name": name, **known} for name in ("parts", "whole")]


def by_pairs(values: torch.Tensor, clusters: torch.Tensor) -> float:
    """Dunn's index as its definition says."""
    same, other = [], []
    for (a, one), (b, two) in itertools.combinations(list(zip(values, clusters, strict=True)), 2):
        (same if one == two else other).append(math.dist(a.tolist(), b.tolist()))
    return min(other) / max(same)


@pytest.mark.parametrize("rows", [3, 20, 1000])
def test_dunn_s_index_is_that_of_all_pairs(rows, monkeypatch):
    values, clusters = torch.rand(50, 7, generator=GENERATOR).double(), torch.arange(50) % 4
    monkeypatch.setattr("gmcn.tasks.density.measures_of_clusters.ROWS", rows)
    assert dunn(values, clusters) == pytest.approx(by_pairs(values, clusters), rel=1e-9)
    assert dunn(1000 + values / 1000, clusters) == pytest.approx(by_pairs(values, clusters), rel=1e-4)
    assert dunn(torch.zeros(4, 2).double(), torch.tensor([0, 0, 1, 1])) is None


def test_clusters_of_copies_alone_have_no_width():
    values = torch.rand(40, 30, generator=GENERATOR).double().repeat(2, 1)
    assert dunn(values, torch.arange(40).repeat(2)) is None


def test_never_are_all_distances_in_memory():
    values = torch.rand(1500, 3, generator=GENERATOR).double()
    with mock.patch.object(torch, "cdist", wraps=torch.cdist) as cdist:
        dunn(values, torch.arange(1500) % 3)
    assert max(len(call.args[0]) for call in cdist.call_args_list) <= 500


def test_clusters_beside_classes():
    inputs = torch.tensor([0.0, 1, 2, 3, 10, 12])[:, None]
    found = clustering(inputs, LABELS, CLUSTERS)
    assert found["dunn"] == pytest.approx(7 / 3)
    assert found["purity"] == pytest.approx(4 / 6)
    assert found["clusters"] == {"used": 2, "objects": 6, "accuracy": pytest.approx(4 / 6)}
    every = clustering(inputs, LABELS, torch.arange(6))
    assert (every["dunn"], every["davies_bouldin"], every["purity"]) == (None, None, 1)
    assert every["clusters"]["accuracy"] == 0.5, "a class has one cluster"
    exact = clustering(inputs, LABELS, 5 - LABELS)
    assert (exact["nmi"], exact["purity"], exact["clusters"]["accuracy"]) == (pytest.approx(1), 1, 1)
    assert exact["davies_bouldin"] == pytest.approx((2 * 1 / 2 + 1.5 / 8.5) / 3, rel=0.1)


@pytest.mark.parametrize("labels", [None, torch.zeros(6, dtype=torch.long)], ids=["no classes", "one class"])
def test_without_classes_there_are_only_distances(labels):
    found = clustering(torch.rand(6, 2, generator=GENERATOR), labels, CLUSTERS)
    assert (found["nmi"], found["purity"], found["clusters"]["accuracy"]) == (None, None, None)
    assert found["dunn"] > 0 < found["davies_bouldin"]
    one = clustering(torch.rand(6, 2, generator=GENERATOR), labels, torch.zeros(6, dtype=torch.long))
    assert (one["dunn"], one["davies_bouldin"], one["clusters"]["used"]) == (None, None, 1)


def test_the_first_objects_of_the_trained_classes_are_clustered_by_their_components(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 30)
    network = build({"kind": "gmm", "components": 5, "largest": 1.0}, seed=0, shape=[4])
    inputs, labels = torch.rand(90, 4, generator=GENERATOR), torch.arange(90) % 3
    data = ObjectSet("vectors", inputs, labels, [str(n) for n in range(90)], {"class_names": ["a", "b", "c"]})
    trained = {"settings": {"training": {"classes": ["a", "c"]}}}
    found = tasks.measures("density").measure(network, data, metadata=trained)
    first = (labels != 1).nonzero().squeeze(1)[:30]
    with torch.no_grad():
        clusters = network.mixture.responsibilities(inputs[first]).argmax(1)
    expected = clustering(inputs[first], labels[first], clusters)
    assert {name: found[name] for name in expected} == expected
    assert found["clusters"]["objects"] == 30


def measured_layers(count: int = 20) -> tuple[torch.Tensor, dict]:
    inputs = torch.rand(count, 2, 3, generator=GENERATOR)
    data = ObjectSet("images", inputs, None, [str(n) for n in range(count)], {})
    return inputs, tasks.measures("density").measure(Layered(), data, metadata={})


def test_of_each_layer_the_means_and_what_it_says_of_itself():
    inputs, found = measured_layers(module.BATCH + 20)
    parts, whole = found["layers"]
    assert (parts["name"], parts["positions"], parts["objects"]) == ("parts", [2, 3], module.BATCH + 20)
    assert (parts["cap"], parts["components"], parts["dim"], parts["dead"], parts["sparsity"]) == (20, 4, 1, 1, 0.5)
    assert parts["log_likelihood"] == pytest.approx(inputs.mean().item(), rel=1e-5)
    assert whole["positions"] == [1, 1]
    assert whole["log_likelihood"] - whole["bound"] == pytest.approx(2)
    assert found["dunn"] is None is found["clusters"], "it has no components"


def test_a_file_says_what_each_position_is_like():
    inputs = torch.rand(1100, 2, 3, generator=GENERATOR)  # more than a batch
    own = tasks.objective(TrainingSettings.read({}), "density")
    parts, whole = own.facts(Layered(), inputs, None)["layers"]
    expected = inputs.double()
    torch.testing.assert_close(torch.tensor(parts["mean"]).double(), expected.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(parts["std"]).double(), expected.std(0, correction=0), atol=1e-6, rtol=0)
    assert torch.tensor(whole["mean"]).shape == (1, 1)
    flat = build({"kind": "gmm", "components": 5, "largest": 1.0}, seed=0, shape=[2, 3])
    assert own.facts(flat, inputs, None).keys() == {"quantiles"}
