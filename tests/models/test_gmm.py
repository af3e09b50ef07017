"""A mixture of a whole data set as a network: its families, its parameters, its two trainings."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.mixture import GaussianMixture as Sklearn

import gmcn
from gmcn.artifacts import save_tensors
from gmcn.errors import InputError
from gmcn.fitting import MixtureEstimator
from gmcn.models import GMM, build, describe
from gmcn.optim import WassersteinSGD

FAMILIES = ("low-rank", "diagonal", "spherical", "full")


def drawn(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def network(covariance: str, **options) -> GMM:
    return GMM([6], components=3, covariance=covariance, rank=2, largest=2.0, seed=0, **options)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_answers_are_the_log_density_of_the_scaled_values(covariance):
    model, x = network(covariance), drawn(50, 6)
    estimator = model.mixture.detach().to_sklearn()
    assert isinstance(estimator, Sklearn)
    expected = torch.from_numpy(estimator.score_samples((x / 2).double().numpy()))
    torch.testing.assert_close(model(x).double(), expected, rtol=1e-5, atol=1e-5)
    images = GMM([2, 3], components=3, covariance=covariance, rank=2, largest=2.0, seed=0)
    torch.testing.assert_close(images(x.unflatten(1, (2, 3))), model(x))


@pytest.mark.parametrize(
    ("covariance", "numbers"), [("low-rank", 6 + 12), ("diagonal", 6), ("spherical", 1), ("full", 21)]
)
def test_it_has_the_parameters_of_its_family(covariance, numbers):
    assert network(covariance).parameter_counts() == {"parameters": 3 * (1 + 6 + numbers)}


@pytest.mark.parametrize("covariance", FAMILIES)
def test_em_is_that_of_the_estimator_and_survives_a_file(covariance, tmp_path):
    model, x, told = network(covariance, floor=1e-3), drawn(200, 6), []
    facts = model.fit_(x, 4, 5, lambda *said: told.append((*said, -model(x).mean().item())))
    rank = {"rank": 2} if covariance == "low-rank" else {}
    options = {"covariance": covariance, "floor": 1e-3, "iterations": 4, "tolerance": 0, "seed": 5, **rank}
    expected = MixtureEstimator(3, **options).fit(x / 2)
    torch.testing.assert_close(model(x), expected.mixture.log_prob(x / 2), rtol=1e-4, atol=1e-4)
    assert [iteration for iteration, *_ in told] == [1, 2, 3, 4]
    losses = [loss for _, loss, _ in told]
    assert losses == sorted(losses, reverse=True)
    # An iteration tells the loss before its step, and the parameters are those after it.
    assert [after for *_, after in told[:-1]] == pytest.approx(losses[1:], abs=1e-3)
    assert facts["components"].keys() == {"empty", "dying", "identical", "floored"}

    save_tensors(tmp_path / "model.safetensors", model.state_dict(), {"network": describe(model)})
    again = gmcn.load(tmp_path)
    assert torch.equal(again(x), model(x))
    assert describe(again) == describe(model)
    assert build(describe(model)).config == model.config


@pytest.mark.parametrize("covariance", FAMILIES)
def test_gradients_make_it_better_and_keep_variances_at_the_floor(covariance):
    model, x = network(covariance, floor=0.02), drawn(100, 6) * torch.tensor([0.0, 4, 4, 4, 4, 4])
    model.start_(x, 0)
    assert torch.equal(model.means, network_started(covariance, x).means), "a seed decides the start"
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = -model(x).mean()
        loss.backward()
        optimizer.step()
        model.after_step_(0.03, 0.0)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    family = model.mixture.covariance
    least = family.factor.diagonal(dim1=-2, dim2=-1) if covariance == "full" else family.std
    assert least.min() >= math.sqrt(0.02) * (1 - 1e-6)
    assert covariance == "spherical" or least[:, 0].tolist() == pytest.approx([math.sqrt(0.02)] * 3)


def network_started(covariance: str, x: torch.Tensor) -> GMM:
    model = network(covariance, floor=0.02)
    model.start_(x, 0)
    return model


def test_a_component_without_objects_can_come_back():
    """Its weight is 0 after EM, whose logarithm has no gradient."""
    model, x = GMM([1], components=3, largest=1.0), torch.tensor([[0.0]] * 5 + [[1.0]] * 5)
    model.start_(x, 0)
    (-model(x).mean()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.logits.isfinite().all()
    assert model.dead() == int((model.logits.softmax(0) < 0.01 / 3).sum())


def test_the_flow_descends_it_as_any_network():
    model, x = network("diagonal"), drawn(50, 6)
    optimizer = WassersteinSGD(model, 0.01)
    before = -model(x).mean()
    before.backward()
    optimizer.step()
    assert -model(x).mean() < before


def test_samples_are_those_of_a_generator_in_the_units_of_the_objects():
    model = GMM([2, 2], components=2, largest=16.0, seed=0)
    samples = [model.sample(2000, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert samples[0].shape == (2000, 2, 2)
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    expected = 16 * model.mixture.mean.detach().unflatten(0, (2, 2))
    torch.testing.assert_close(samples[0].mean(0), expected, atol=1.0, rtol=0)


def test_the_most_frequent_component_comes_first():
    model = GMM([2], components=3, largest=10.0, seed=0)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.0, 9.0, 1.0]))
    assert torch.equal(model.centres(), 10 * model.means[[1, 2, 0]])
    assert model.dead() == 2  # with e⁻⁹ and e⁻⁸ of all
    model.logits.data[0] = 4.0
    assert model.dead() == 1


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: GMM([4], components=0), "'components' is 0, but must be at least 1"),
        (lambda: GMM([4], floor=0.0), "'floor' is 0.0, but must be greater than 0"),
        (lambda: GMM([4], covariance="tied"), "'covariance' is 'tied', but must be one of low-rank, diagonal"),
        (lambda: build({"kind": "gmm"}, shape=[4], objects="points"), "takes images or vectors, and these are points"),
        (lambda: GMM([4])(torch.zeros(2, 5)), r"the input is \[2, 5\]; this network takes \[B, \*\[4\]\]"),
        (lambda: GMM([4], components=9).fit_(torch.zeros(8, 4), 1, 0, print), "9 components"),
        (lambda: build({"kind": "mlp"}, 2, shape=[4]).fit_(None, 1, 0, print), "MLP is not fitted by em"),
    ],
)
def test_what_cannot_be_is_one_sentence(make, part):
    with pytest.raises(InputError, match=part) as error:
        make()
    assert "\n" not in str(error.value)
