"""The measures of densities: likelihood, and what separates objects of classes that were not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gmcn import tasks
from gmcn.artifacts import save_tensors
from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.models import build, describe
from gmcn.tasks.density.measures import outliers, roc_curves

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 4])
METADATA = {"dataset": "toy", "class_names": ["a", "b", "c", "all", "e"]}


def images(labels: torch.Tensor | None = LABELS) -> ObjectSet:
    drawn = torch.randint(0, 256, (8, 3, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    metadata = METADATA if labels is not None else {"dataset": "toy"}
    return ObjectSet("images", drawn, labels, [f"i{index}" for index in range(8)], metadata)


def of_classes(*classes) -> dict:
    """The metadata of a network's file."""
    return {"settings": {"training": {"classes": list(classes)}}}


@pytest.fixture
def network():
    return build({"kind": "gmm", "components": 4}, seed=0, shape=[3, 4])


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 2.5, 9.0, 1.0, 2.0])
    found = outliers(scores, images(), ["a", 1])
    pairs = [(high > low) + (high == low) / 2 for high in scores[4:] for low in scores[:4]]
    assert found["auc"] == pytest.approx(sum(map(float, pairs)) / len(pairs))
    assert found["outliers"] == {"c": pytest.approx((3 + 4 + 1.5) / 12), "e": pytest.approx(2.5 / 4)}
    curves = roc_curves(scores, images(), ["a", 1])
    assert list(curves) == [None, "c", "e"]
    assert all(curve[-1] == 1 for curve in curves[None])


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        (images(None), of_classes(0)),
        (images(), of_classes(0, 1, 2, 3, 4)),
        (images(), {"settings": {"training": {}}}),
        (images(), None),
    ],
    ids=["without labels", "all classes", "no such setting", "no file"],
)
def test_without_outliers_there_is_only_a_likelihood(network, data, metadata, tmp_path):
    measures, said = tasks.measures("density"), []
    found = measures.measure(network, data, progress=said.append, metadata=metadata)
    with torch.no_grad():
        assert found["log_likelihood"] == pytest.approx(network(data.inputs).double().mean().item())
    assert (found["auc"], found["outliers"], sum(said)) == (None, {}, 8)
    assert found["log_likelihood"] == pytest.approx(sum(found["log_likelihoods"]) / 8)
    path = tmp_path / "model.safetensors"
    save_tensors(path, network.state_dict(), {"network": describe(network), "seed": 0})
    drawn = measures.pictures([{**found, "model": {"path": str(path)}}], data, tmp_path)
    assert [picture.name for picture in drawn] == ["samples.png", "components.png"]


def test_the_likelihood_is_that_of_the_trained_classes_which_the_file_says(network):
    found = tasks.measures("density").measure(network, images(), metadata=of_classes("b", 0))
    assert found["classes"] == ["b", 0]
    assert found["log_likelihood"] == pytest.approx(sum(found["log_likelihoods"][:4]) / 4)
    assert found["outliers"].keys() == {"c", "e"}
    assert found["dead"] == 0


def test_objects_of_another_data_set_are_told_from_the_known_ones(network):
    measures = tasks.measures("density")
    found = measures.measure(network, images(), metadata=of_classes(0, 1))
    assert (found["auc_others"], found["others"]) == (None, None)
    others = images(None)
    others.inputs[:2] = 255 - others.inputs[:2]
    beside = measures.beside(network, found, images(), others)
    with torch.no_grad():
        known, values = network(images().inputs)[:4], network(others.inputs)
    pairs = [float(low < high) + float(low == high) / 2 for low in values for high in known]
    assert beside["auc_others"] == pytest.approx(sum(pairs) / len(pairs), abs=0.02)
    assert beside["others"] == {"dataset": "toy", "objects": 8}
    far = measures.beside(
        network, found, images(), ObjectSet("images", torch.full((3, 3, 4), 1e38), None, [""] * 3, {})
    )
    assert far["auc_others"] == 1, "no number, so the least likely"


def test_pictures_of_a_vector_are_its_curves_alone(tmp_path):
    data = ObjectSet("vectors", torch.rand(8, 2), LABELS, images().names, METADATA)
    network = build({"kind": "gmm"}, seed=0, shape=[2])
    measures = tasks.measures("density")
    found = measures.measure(network, data, metadata=of_classes(0, 1))
    [path] = measures.pictures([found], data, tmp_path)
    assert path == tmp_path / "outliers.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_measured_is_one_sentence(network):
    measures = tasks.measures("density")
    with pytest.raises(InputError, match="no test object of toy is of the classes that were trained on"):
        measures.measure(network, images(), metadata=of_classes(3))
    with torch.no_grad():
        network.means[:, 0] = 3e38
    with pytest.raises(InputError, match=r"the log-likelihood of 'i0' is not finite \(8 of 8 objects\)"):
        measures.measure(network, images())
    with pytest.raises(InputError, match="model is no density; train it again"):
        measures.check(build({"kind": "mlp"}, 2, shape=[3, 4]), {}, Path("model"))


def test_an_answer_is_set_beside_the_training_objects(network):
    measures, inputs = tasks.measures("density"), images().inputs
    with torch.no_grad():
        values = network(inputs).double()
        low, high = values.sort().values[[2, 5]].tolist()
        answers = measures.answer(network, inputs, {"trained": {"quantiles": [low, high]}})
        assert [answer["log_likelihood"] for answer in answers] == pytest.approx(values.tolist())
        expected = [0.5 * (value > low) + 0.5 * (value > high) for value in values.tolist()]
        assert [answer["less_likely"] for answer in answers] == expected
        assert measures.answer(network, inputs, {})[0].keys() == {"log_likelihood"}
        assert measures.answer(network, torch.full((1, 3, 4), torch.inf), {}) == [None]


def test_an_answer_names_the_class_that_the_objects_of_its_components_have(network):
    classes = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.7, 0.3], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]]).double()
    metadata = {"class_names": METADATA["class_names"], "trained": {"classes": classes.tolist()}}
    with torch.no_grad():
        answers = tasks.measures("density").answer(network, images().inputs, metadata)
        shares = network.responsibilities(images().inputs).double() @ classes
    assert [answer["class"] for answer in answers] == ["abc"[place] for place in shares.argmax(1).tolist()]
    assert [answer["probability"] for answer in answers] == pytest.approx(shares.amax(1).tolist())
