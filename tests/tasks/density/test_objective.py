"""The objective of densities: for any network whose answer is one log-density of each object."""

from __future__ import annotations

import pytest
import torch

from gmcn import tasks
from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.models import build
from gmcn.training import TrainingSettings


@pytest.fixture
def vectors() -> ObjectSet:
    drawn = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))
    names = [str(index) for index in range(40)]
    return ObjectSet("vectors", drawn, None, names, {"dataset": "toy"})


def objective(**training):
    return tasks.objective(TrainingSettings.read(training), "density")


def test_the_loss_is_the_mean_negative_log_density_and_has_its_gradient(vectors):
    own = objective()
    own.check(vectors)  # without labels
    network = build({"kind": "gmm", "components": 3, "largest": 1.0}, seed=0, **own.traits(vectors))
    loss, others = own.loss(network, vectors.inputs, None)
    assert others == {}
    torch.testing.assert_close(loss, -network.mixture.log_prob(vectors.inputs).mean())
    torch.testing.assert_close(own.measure(network, vectors.inputs, None)["loss"].mean(), loss)
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_what_answers_otherwise_is_refused_in_one_sentence(vectors):
    network = build({"kind": "mlp"}, 3, shape=[5])
    with pytest.raises(InputError, match=r"answers \[40, 3\] about 40 objects, .* take a network such as `kind: gmm`"):
        objective().loss(network, vectors.inputs, None)


def test_a_file_says_how_likely_the_training_objects_are(vectors):
    network = build({"kind": "gmm", "largest": 1.0}, seed=0, shape=[5])
    quantiles = objective().facts(network, vectors.inputs, None)["quantiles"]
    with torch.no_grad():
        values = network(vectors.inputs)
    assert len(quantiles) == 101
    assert (quantiles[0], quantiles[-1]) == (values.min().item(), values.max().item())
    assert quantiles == sorted(quantiles)


def test_a_file_says_which_classes_the_objects_of_each_component_have(vectors):
    network = build({"kind": "gmm", "components": 3, "largest": 1.0}, seed=0, shape=[5])
    with torch.no_grad():
        network.means[2], network.std[2] = 50.0, 0.1  # where nothing is
    labels = (vectors.inputs[:, 0] > 0.3).long() + 1
    facts = objective().facts(network, vectors.inputs, labels)
    with torch.no_grad():
        belonging = network.responsibilities(vectors.inputs).double()
    counts = torch.stack([belonging[labels == place].sum(0) for place in range(3)], 1)
    expected = counts[:2] / counts[:2].sum(1, keepdim=True)
    torch.testing.assert_close(torch.tensor(facts["classes"]).double()[:2], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.tensor(facts["shares"]).double(), belonging.mean(0), atol=1e-6, rtol=0)
    assert facts["classes"][2] == pytest.approx([(labels == place).double().mean().item() for place in range(3)])
    assert facts["shares"][2] == 0
    assert all(sum(row) == pytest.approx(1, abs=2e-4) for row in facts["classes"])


def test_without_labels_or_components_there_is_no_read_out(vectors):
    network = build({"kind": "gmm", "components": 3, "largest": 1.0}, seed=0, shape=[5])
    assert objective().facts(network, vectors.inputs, None).keys() == {"quantiles"}
    network.dead = lambda: None
    assert objective().facts(network, vectors.inputs, torch.zeros(40).long()).keys() == {"quantiles"}


def test_there_are_no_logits_to_adjust(vectors):
    with pytest.raises(InputError, match=r"training\.logit_adjustment is of networks that classify; leave it out"):
        objective(logit_adjustment=1.0).check(vectors)
