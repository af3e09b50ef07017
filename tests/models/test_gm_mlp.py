"""The perceptron of mixtures: its layers, what it refuses, and that the flow trains it and goes on where it stopped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gmcn.errors import InputError
from gmcn.models import GMMLP, build, describe
from gmcn.nn import GaussianMixtureLayer


def kinds(model: GMMLP) -> list[type]:
    return [type(module) for module in model.layers]


def test_one_layer_from_values_to_classes():
    model, images = GMMLP(3, (2, 4), components=5, seed=0), torch.rand(6, 2, 4)
    assert kinds(model) == [GaussianMixtureLayer]
    values = images.flatten(1)
    values = (values - values.mean(1, keepdim=True)) / values.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(model(images), model.layers[0](values))
    torch.testing.assert_close(model(3 * images + 1), model(images), atol=1e-4, rtol=1e-4)
    assert model.parameter_counts()["parameters"] == 5 * ((9 + 3) * (1 + 4) + 9) + 5


@pytest.mark.parametrize(
    ("mixtures", "expected"),
    [
        ("all", [GaussianMixtureLayer, nn.ReLU, GaussianMixtureLayer]),
        ("first", [GaussianMixtureLayer, nn.ReLU, nn.Linear]),
        ("last", [nn.Linear, nn.ReLU, GaussianMixtureLayer]),
    ],
)
def test_layers_between_others(mixtures, expected):
    model = GMMLP(3, (4,), hidden=(6,), mixtures=mixtures, components=5, seed=0)
    assert kinds(model) == expected
    assert model(torch.rand(2, 4)).shape == (2, 3)


@pytest.mark.parametrize("covariance", ["diagonal", "low-rank", "full"])
def test_a_description_builds_the_same_network(covariance):
    options = {"components": 3, "rank": 2, "covariance": covariance, "activation": "erf", "hidden": (5,)}
    model, vectors = GMMLP(3, (4,), seed=1, **options).eval(), torch.randn(2, 4)
    assert torch.equal(build({"kind": "gm-mlp", **options}, 3, shape=[4], seed=1).eval()(vectors), model(vectors))
    assert describe(model)["kind"] == "gm-mlp"
    again = build(describe(model)).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(vectors), model(vectors))


def test_a_black_image_has_finite_logits_and_gradients():
    model = GMMLP(3, (2, 2), components=5, seed=0)
    model(torch.zeros(2, 2, 2)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GMMLP(3, (2, 4), components=0), "GMMLP: 'components' is 0, but must be at least 1"),
        (lambda: GMMLP(3, (2, 4), rank=0), "GMMLP: 'rank' is 0, but must be at least 1"),
        (lambda: GMMLP(3, (2, 4), activation="step"), "GMMLP: 'activation' is 'step', but must be one of"),
        (lambda: GMMLP(3, (2, 4))(torch.zeros(1, 4, 2)), r"the input is \[1, 4, 2\]; this network takes"),
        (lambda: build({"kind": "gm-mlp"}, 3, objects="mixtures"), "takes images or vectors, and these are mixtures"),
    ],
)
def test_what_cannot_be_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
