"""The layer against draws, against perceptrons, under autocast and torch.compile, and its merged components."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from gmcn.errors import InputError
from gmcn.nn import GaussianMixtureLayer, merge, prune
from gmcn.nn.activations import ACTIVATIONS

FAMILIES = ("diagonal", "low-rank", "full")


def layer_of(covariance: str = "low-rank", activation: str = "relu", dtype=torch.float64, **options):
    generator = torch.Generator().manual_seed(3)
    options = {"components": 4, "rank": 2, **options}
    layer = GaussianMixtureLayer(3, 2, covariance=covariance, activation=activation, generator=generator, **options)
    with torch.no_grad():
        layer.logits.copy_(torch.randn(layer.components, generator=generator))
    return layer.to(dtype)


def inputs(*shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=dtype)


def answers(layer, x, n: int, seed: int = 5) -> torch.Tensor:  # [..., n, o]
    """What each of n drawn neurons answers."""
    w, v = layer.sample(n, torch.Generator().manual_seed(seed))
    x = torch.cat((x, x.new_ones(*x.shape[:-1], 1)), -1) if layer.bias else x
    return layer.activation(x @ w.mT)[..., None] * v


@pytest.mark.parametrize(("covariance", "activation"), list(itertools.product(FAMILIES, ACTIVATIONS)))
def test_output_and_variance_are_those_of_drawn_neurons(covariance, activation):
    noise = {} if covariance == "full" else {"output_deviation": 0.3}
    layer, x, n = layer_of(covariance, activation, **noise), inputs(6, 3), 300_000
    drawn = answers(layer, x, n)
    error = drawn.std(1) / n**0.5
    assert ((drawn.mean(1) - layer(x)).abs() < 4.5 * error).all()
    squares = (drawn - drawn.mean(1, keepdim=True)).square()
    assert ((squares.mean(1) - layer.variance(x)).abs() < 4.5 * squares.std(1) / n**0.5).all()


@pytest.mark.parametrize("covariance", FAMILIES)
def test_gradients_are_those_of_finite_differences(covariance):
    layer, x = layer_of(covariance, "gelu", train_weights=True), inputs(4, 3).requires_grad_()
    names = list(dict(layer.named_parameters()))

    def called(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(called, (x, *layer.parameters()))


@pytest.mark.parametrize("covariance", FAMILIES)
def test_one_tight_component_per_neuron_is_a_perceptron(covariance):
    layer, x = layer_of(covariance, components=8, deviation=0.0, factor_out=0.0), inputs(10, 3)
    weights = layer.logits.softmax(0)
    expected = (x @ layer.means[:, :3].mT + layer.means[:, 3]).relu() * weights @ layer.means[:, 4:]
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "bias"), list(itertools.product((torch.float32, torch.float64), (True, False))))
def test_any_leading_shape(dtype, bias):
    layer, x = layer_of(dtype=dtype, bias=bias), inputs(2, 5, 3, dtype=dtype)
    flat = layer(x.flatten(0, 1))
    assert layer(x).dtype == dtype
    torch.testing.assert_close(layer(x).flatten(0, 1), flat)
    torch.testing.assert_close(layer(x[0, 0]), flat[0])
    torch.testing.assert_close(layer.variance(x).flatten(0, 1), layer.variance(x.flatten(0, 1)))
    assert layer.variance(x[0, 0]).shape == layer(x[0, 0]).shape == (2,)
    assert layer(x[:0]).shape == (0, 5, 2)


def test_float32_is_as_good_as_its_digits():
    layer, x = layer_of(), inputs(50, 3)
    exact = layer(x)
    torch.testing.assert_close(copy.deepcopy(layer).float()(x.float()).double(), exact, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_autocast(covariance):
    layer, x = layer_of(covariance, dtype=torch.float32), inputs(50, 3, dtype=torch.float32)
    exact, exact_variance = layer(x), layer.variance(x)
    with torch.autocast("cpu", torch.bfloat16):
        lower = layer(x)
        lower.float().square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer.variance(x), exact_variance)
    assert (lower.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(tensor.grad.isfinite().all() for tensor in layer.parameters() if tensor.requires_grad)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_compiled_by_torch(covariance):
    layer, x = layer_of(covariance, dtype=torch.float32), inputs(9, 3, dtype=torch.float32)
    expected = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.parametrize("covariance", FAMILIES)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e6])
def test_thin_and_huge_covariances_are_numbers(covariance, scale):
    layer, x = layer_of(covariance, dtype=torch.float32), inputs(9, 3, dtype=torch.float32)
    with torch.no_grad():
        layer.factors.mul_(scale)
        if layer.stds is not None:
            layer.stds.mul_(scale)
    output = layer(x)
    (output.square().sum() / max(1, scale) ** 2).backward()
    assert output.isfinite().all()
    assert layer.variance(x).isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in layer.parameters() if tensor.requires_grad)


@pytest.mark.parametrize("covariance", FAMILIES)
def test_measure_is_that_of_the_neurons(covariance):
    layer = layer_of(covariance)
    mean, spread = layer.measure().moments()
    drawn = torch.cat(layer.sample(400_000, torch.Generator().manual_seed(1)), 1)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.mT.cov(), spread, atol=0.05, rtol=0)


def test_a_finite_network_is_the_layer_on_average():
    layer, x = layer_of(), inputs(7, 3)
    networks = [layer.to_mlp(50, torch.Generator().manual_seed(seed)) for seed in range(2000)]
    outputs = torch.stack([network(x) for network in networks])
    predicted = (layer.variance(x) / 50).sqrt()
    assert ((outputs.mean(0) - layer(x)).abs() < 4.5 * predicted / 2000**0.5).all()
    # 2,000 draws know a deviation to 1.6 %, one standard error of it.
    torch.testing.assert_close(
        outputs.std(0).square().mean().sqrt(), predicted.square().mean().sqrt(), atol=0, rtol=0.05
    )


def test_the_sampling_error_falls_as_the_root():
    layer, x, counts = layer_of(), inputs(20, 3), torch.tensor([30, 100, 300, 1000, 3000])
    errors = [
        torch.stack([layer.to_mlp(n, torch.Generator().manual_seed(seed))(x) - layer(x) for seed in range(60)])
        for n in counts.tolist()
    ]
    logs = torch.stack([error.square().mean().sqrt() for error in errors]).log()
    at = counts.double().log()
    slope = ((at - at.mean()) * (logs - logs.mean())).sum() / (at - at.mean()).square().sum()
    assert -0.55 < slope < -0.45


def test_dropped_components_change_no_mean():
    layer, x = layer_of(components=30, dropout=0.3), inputs(5, 3)
    torch.manual_seed(0)
    drawn = torch.stack([layer.train()(x) for _ in range(4000)])
    assert ((drawn.mean(0) - layer.eval()(x)).abs() < 4.5 * drawn.std(0) / 4000**0.5).all()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("covariance", FAMILIES)
def test_merging_keeps_moments(covariance):
    layer = layer_of(covariance, components=6)
    merged = merge(layer, torch.tensor([0, 1, 0, 2, 1, 2]))
    assert merged.components == 3
    (mean, spread), (new, found) = layer.measure().moments(), merged.measure().moments()
    torch.testing.assert_close(new, mean)
    inner = slice(None, layer.inner)
    if covariance == "full":
        torch.testing.assert_close(found, spread)
    torch.testing.assert_close(found.diagonal()[inner], spread.diagonal()[inner])
    # Each into itself is the same layer.
    same = merge(layer, torch.arange(6))
    torch.testing.assert_close(same(inputs(5, 3)), layer(inputs(5, 3)))


def test_equal_components_merge_into_one_of_them():
    layer, x = layer_of(components=1), inputs(8, 3)
    twice = copy.deepcopy(layer)
    for name in ("logits", "means", "factors", "stds"):
        setattr(twice, name, torch.nn.Parameter(getattr(layer, name).detach().repeat_interleave(2, 0)))
    torch.testing.assert_close(twice(x), layer(x))
    torch.testing.assert_close(merge(twice, torch.tensor([0, 0]))(x), layer(x))


def test_pruning_merges_what_has_little_weight():
    layer, x = layer_of(components=5), inputs(8, 3)
    with torch.no_grad():
        layer.logits.copy_(torch.tensor([0.3, 1e-6, 0.3, 1e-6, 0.4]).log())
    pruned = prune(layer, 1e-3)
    assert pruned.components == 3
    torch.testing.assert_close(pruned(x), layer(x), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match=r"all 5 components have less weight than 0\.9"):
        prune(layer, 0.9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"components": 0}, "components is 0; it must be an integer of at least 1"),
        ({"rank": 0}, "rank is 0; it must be an integer of at least 1"),
        ({"covariance": "tied"}, "covariance of a Gaussian mixture layer 'tied'"),
        ({"activation": "step"}, "activation 'step'"),
        ({"components": 2.5}, r"components is 2\.5; it must be an integer"),
        ({"rank": 7}, "rank is 7; neurons have only 6 dimensions"),
        ({"deviation": float("nan")}, "deviation is nan; it must not be negative"),
        ({"dropout": 1.0}, r"dropout is 1\.0; it must be a probability below 1"),
        ({"covariance": "full", "output_deviation": 0.1}, "output_deviation is for the other families"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        layer_of(**options)


def test_a_network_needs_neurons():
    with pytest.raises(InputError, match="n is 0; a network has at least 1 neuron"):
        layer_of().to_mlp(0, torch.Generator())


def test_neurons_without_spread_have_a_measure():
    measure = layer_of("full", deviation=0.0, factor_out=0.0).measure()
    assert measure.log_prob(measure.means).isfinite().all()


def test_a_wrong_input_is_one_sentence():
    with pytest.raises(InputError, match=r"the input is \[2, 4\]; this layer takes \[\.\.\., 3\]"):
        layer_of()(inputs(2, 4))


def test_merging_frees_nothing_that_is_frozen():
    layer = GaussianMixtureLayer(4, 2, components=3, rank=1).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in merge(layer, torch.tensor([0, 0, 1])).parameters())
