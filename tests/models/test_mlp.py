"""The perceptron: its equation, what it refuses, and that it learns digits about as well as scikit-learn's."""

from __future__ import annotations

import pytest
import torch

from gmcn.errors import InputError
from gmcn.models import MLP, build, describe
from gmcn.models.mlp import scaled


def test_two_layers_are_the_equation():
    model, images = MLP(3, (2, 4), hidden=(5,), seed=0), torch.rand(6, 2, 4)
    first, second = model.layers[0], model.layers[-1]
    x = images.flatten(1) / images.amax((1, 2))[:, None]
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(model(images), hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(model(7 * images), model(images))
    assert torch.equal(model((images * 255).byte()), model((images * 255).byte().double().float()))
    assert model.parameter_counts() == {"parameters": 8 * 5 + 5 + 5 * 3 + 3}


def test_a_black_image_has_finite_logits_and_gradients():
    model = MLP(3, (2, 2), seed=0)
    model(torch.zeros(2, 2, 2)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_description_builds_the_same_network():
    model, vectors = MLP(3, (4,), hidden=(5, 6), dropout=0.5, seed=1).eval(), torch.randn(2, 4)
    assert torch.equal(build(describe(model)).eval()(vectors), model(vectors))
    assert torch.equal(build({"kind": "mlp", "hidden": [5, 6]}, 3, shape=[4], seed=1).eval()(vectors), model(vectors))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MLP(3, (2, 4), hidden=(0,)), "MLP: 'hidden.0' is 0, but must be at least 1"),
        (lambda: MLP(3, ()), "MLP: 'shape' is .*, but must have at least 1 items"),
        (lambda: MLP(0, (2,)), "MLP: 'classes' is 0, but must be at least 1"),
        (
            lambda: MLP(3, (2, 4))(torch.zeros(1, 4, 2)),
            r"the input is \[1, 4, 2\]; this network takes \[B, \*\[2, 4\]\]",
        ),
        (
            lambda: build({"kind": "mlp"}, 3, objects="mixtures"),
            "the network 'mlp' takes images or vectors, and these are mixtures; set `fit: null`",
        ),
        (
            lambda: build({"layers": []}, 3, objects="points"),
            "the network 'gmcn' takes mixtures, and these are points; set a `fit`",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize("brightness", [1e-3, 1.0, 255.0])
def test_standardised_images_have_mean_zero_and_variance_one(brightness):
    values = scaled(brightness * torch.rand(3, 50), "standardised")
    torch.testing.assert_close(values.mean(1), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(values.var(1, correction=0), torch.ones(3))
