"""The classification network: shapes, invariances, gradients, reproducibility."""

from __future__ import annotations

import json
import math
from typing import Annotated

import pytest
import torch

from gmcn import Mixture
from gmcn.declared import at_least
from gmcn.errors import InputError
from gmcn.models import GMCN, build
from gmcn.nn import mean_activation
from gmcn.nn.norm import mean_variance

from ..nn.workload import random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])
LAYERS = ((4, 8), (6, 4))


def network(dim=3, **options):
    return GMCN(LAYERS, 5, dim, **{"seed": 1, **options}).double()


def evaluated(dim=3, dtype=torch.float64, **options):
    """In evaluation mode after one training step, so that running statistics are not the initial ones."""
    model = network(dim, **options).to(dtype)
    with torch.no_grad():
        model(random_mixture(4, 12, dim=dim, seed=9, dtype=dtype))
    return model.eval()


@DIMS
@pytest.mark.parametrize("reduction", ["treehem2", "treehem4", "em", "none"])
def test_shapes_and_gradients(dim, reduction):
    model = network(dim, reduction=reduction)
    if reduction == "none":
        model = GMCN([(3, 1)], 5, dim, reduction=reduction, seed=1).double()
    output = model(random_mixture(3, 12, dim=dim))
    assert output.shape == (3, 5)
    loss = torch.nn.functional.cross_entropy(output, torch.tensor([0, 3, 4]))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_both_input_shapes():
    model, mixture = network(), random_mixture(3, 12)
    model.eval()
    assert torch.equal(model(mixture), model(mixture.map(lambda tensor: tensor.unsqueeze(1))))


def test_parameters_of_the_paper():
    """Table 1: 215K; 3336 kernel mixtures of five Gaussians with 13 numbers each."""
    model = GMCN([(8, 64), (16, 32), (32, 16), (64, 8)], 10, 3)
    kernels = sum(p.numel() for block in model.blocks for p in block.convolution.parameters())
    assert kernels == 13 * 5 * (1 * 8 + 8 * 16 + 16 * 32 + 32 * 64 + 64 * 10) == 216_840
    assert sum(p.numel() for p in model.parameters()) == 216_840 + 2 * 10
    assert [block.reduction.components for block in model.blocks] == [64, 32, 16, 8, None]


def test_seed():
    states = [GMCN(LAYERS, 5, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["blocks.0.convolution.raw_weights"], states[2]["blocks.0.convolution.raw_weights"])


def test_seed_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    GMCN(LAYERS, 5, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_forward_is_deterministic():
    model, mixture = network().float(), random_mixture(3, 12, dtype=torch.float32)
    results = []
    for _ in range(2):
        model.zero_grad()
        model(mixture).square().sum().backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@DIMS
@pytest.mark.parametrize("reduction", ["treehem2", "em"])
def test_invariant_to_translation(dim, reduction):
    model, mixture = evaluated(dim, reduction=reduction), random_mixture(3, 12, dim=dim)
    shift = torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64)[:dim]
    moved = mixture._replace(positions=mixture.positions + shift)
    torch.testing.assert_close(model(moved), model(mixture), rtol=1e-7, atol=1e-8)


def test_invariant_to_translation_in_float32():
    model, mixture = evaluated(dtype=torch.float32), random_mixture(3, 12, dtype=torch.float32)
    moved = mixture._replace(positions=mixture.positions + 10)
    torch.testing.assert_close(model(moved), model(mixture), rtol=1e-2, atol=1e-3)


@DIMS
@pytest.mark.parametrize("mass", [1.0, 7.0])
def test_invariant_to_scale_and_mass(dim, mass):
    model, mixture = evaluated(dim), random_mixture(3, 12, dim=dim)
    scaled = Mixture(mass * mixture.weights, 4 * mixture.positions, 16 * mixture.covariances)
    torch.testing.assert_close(model(scaled), model(mixture), rtol=1e-7, atol=1e-8)


def test_invariant_to_the_order_of_components():
    model, mixture = evaluated(), random_mixture(3, 12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = mixture.map(lambda tensor: tensor[:, order])
    torch.testing.assert_close(model(shuffled), model(mixture), rtol=1e-7, atol=1e-8)


def test_samples_are_independent_in_evaluation():
    model, mixture = evaluated(), random_mixture(3, 12)
    together = model(mixture)
    for index in range(3):
        alone = model(mixture.map(lambda tensor, index=index: tensor[index : index + 1]))
        torch.testing.assert_close(alone[0], together[index], rtol=1e-9, atol=1e-9)


def test_training_uses_the_statistics_of_the_batch():
    model, mixture = network(), random_mixture(3, 12)
    output = model(mixture)
    torch.testing.assert_close(output.mean(0), torch.zeros(5).double(), atol=1e-6, rtol=0)
    assert not torch.allclose(model.eval()(mixture), output)


@DIMS
def test_input_is_normalised(dim):
    mixture = random_mixture(3, 12, dim=dim)
    mixture = mixture._replace(positions=mixture.positions + 50, weights=9 * mixture.weights)
    normed = network(dim).normalize_input(mixture)
    ones = torch.ones(3, 1, dtype=torch.float64)
    torch.testing.assert_close(mean_variance(normed, (2,), True), ones)
    torch.testing.assert_close(mean_activation(normed), ones)
    centre = (normed.weights[..., None] * normed.positions).sum(2)
    torch.testing.assert_close(centre, torch.zeros_like(centre), atol=1e-9, rtol=0)


def test_input_without_mass():
    mixture = random_mixture(3, 12)
    mixture.weights[1] = 0
    normed = network().normalize_input(mixture)
    assert all(tensor.isfinite().all() for tensor in normed)
    assert network()(mixture).isfinite().all()


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_scale_of_the_kernels_matters_only_with_constants(offset):
    """Positively homogeneous without them: the last normalisation takes the factor out."""
    smoothing = (offset / 2, offset / 2)
    mixture = random_mixture(3, 12)
    outputs = [
        network(divide_by_channels=divide, relu_offset=offset, relu_smoothing=smoothing)(mixture)
        for divide in (True, False)
    ]
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-4) is (offset == 0)


def test_convolve_fit():
    model = network(convolve_fit=2)
    assert [block.convolve_fit for block in model.blocks] == [16, 8, 4]
    for channels, block in zip((1, 4, 6), model.blocks, strict=True):
        assert block.stages(random_mixture(2, channels, 8))[0].components == block.convolve_fit
    assert model(random_mixture(3, 12)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "nodes"),
    [
        ({}, [None, None, None]),
        ({"fit_at": 4}, [32, 16, 64]),
        ({"fit_at": 1}, [16, 16, 64]),
        ({"fit_at": 1, "fit_at_least": 1, "fit_at_last": 2}, [8, 4, 2]),
        ({"fit_at_least": 32, "fit_at_last": 32}, [None, None, None]),
    ],
)
def test_fit_at_nodes(options, nodes):
    model = network(**options)
    assert [block.fit_at for block in model.blocks] == nodes
    mixture = model.normalize_input(random_mixture(3, 12))
    for block, components in zip(model.blocks, (8, 4, None), strict=True):
        mixture = block(mixture)
        assert mixture.components == (components or block.fit_at or mixture.components)


@DIMS
def test_invariances_of_a_fit_at_nodes(dim):
    """Translation, scale, mass and the order of components; what weighs nothing changes nothing but the average."""
    options = {"fit_at": 2, "fit_at_least": 4, "fit_at_last": 16}
    model, mixture = evaluated(dim, **options), random_mixture(3, 12, dim=dim)
    shift = torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64)[:dim]
    moved = Mixture(7 * mixture.weights, 4 * mixture.positions + shift, 16 * mixture.covariances)
    shuffled = moved.map(lambda tensor: tensor[:, torch.randperm(12, generator=torch.Generator().manual_seed(0))])
    torch.testing.assert_close(model(shuffled), model(mixture), rtol=1e-7, atol=1e-8)


def test_a_fit_at_nodes_is_of_mixtures_that_are_not_negative():
    mixture = random_mixture(3, 12)
    mixture.weights[1, 2] = -1e-3
    with pytest.raises(RuntimeError, match="negative weight"):
        network(fit_at=2)(mixture)


def test_older_files_fit_at_all_centres():
    old = {key: value for key, value in network().config.items() if not key.startswith("fit_at")}
    assert build(old).config == network().config
    assert network().config["fit_at"] is None


@pytest.mark.parametrize(
    "options", [{"convolve_fit": 2, "reduction": "em", "relu_smoothing": (0.1, 0.2)}, {"fit_at": 2, "fit_at_last": 8}]
)
def test_config_builds_the_same_network(options):
    model = network(2, **options)
    again = GMCN(**json.loads(json.dumps(model.config))).double()
    again.load_state_dict(model.state_dict())
    mixture = random_mixture(3, 12, dim=2)
    assert torch.equal(again.eval()(mixture), model.eval()(mixture))


def test_decay_is_a_gradient_step():
    model = network()
    parameters = [p for block in model.blocks for p in block.convolution.parameters()]
    gradients = torch.autograd.grad(model.kernel_decay_loss(), parameters, allow_unused=True)
    expected = [p.detach() - (0 if g is None else 0.02 * g) for p, g in zip(parameters, gradients, strict=True)]
    model.decay_kernels_(0.02)
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_learns():
    """Two classes that differ in nothing but the shape of their Gaussians."""
    torch.manual_seed(0)
    mixture = random_mixture(16, 12, dim=2, dtype=torch.float32)
    labels = torch.arange(16) % 2
    mixture.covariances[labels == 1, :, 0, 0] *= 5
    model = GMCN([(4, 6)], 2, 2, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(mixture), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3


def test_older_files_say_how_they_read_out():
    """There was one way; it is no option any more."""
    old = {**network().config, "kind": "gmcn", "readout": "integral"}
    assert build(old).config == network().config
    with pytest.raises(InputError, match="the network cannot be built: unknown key 'readout'"):
        build(old | {"readout": "maximum"})


def test_arguments_are_kept_however_they_are_given():
    class Wider(GMCN):
        """A network of somebody else's."""

        def __init__(self, width: Annotated[int, at_least(1), "Channels."]) -> None:
            super().__init__([(width, 4)], 3, dim=2)

    assert Wider(2).config == {"width": 2}
    assert Wider(width=2).blocks[0].convolution.out_channels == 2
    config = GMCN(((2, 4),), 3, 2, relu_smoothing=(0.0, 0.5)).config
    assert (config["layers"], config["dim"], config["relu_smoothing"]) == ([[2, 4]], 2, [0.0, 0.5])
    with pytest.raises(InputError, match="Wider: 'width' is 0, but must be at least 1"):
        Wider(0)
    with pytest.raises(TypeError, match="missing a required argument: 'classes'"):
        GMCN([(2, 4)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: network()(random_mixture(3, 12, dim=2)), r"\[3, 1, 12, 2\].*\[B, 1, N, 3\]"),
        (lambda: network()(random_mixture(3, 2, 12)), r"\[3, 2, 12, 3\].*\[B, 1, N, 3\]"),
        (lambda: GMCN([(4, 8, 2)], 5), "GMCN: 'layers.0' is .*at most 2 items"),
        (lambda: GMCN([(4, 0)], 5), "GMCN: 'layers.0.1' is 0, but must be at least 1"),
        (lambda: GMCN(LAYERS, 0), "'classes' is 0"),
        (
            lambda: network(reduction="kmeans"),
            "'reduction' cannot be 'kmeans': How a layer gets back to few Gaussians: treehem<T>, em",
        ),
        (lambda: network(fit_at=0), "'fit_at' is 0, but must be at least 1"),
        (lambda: network(fit_at=2, fit_at_last=0), "'fit_at_last' is 0"),
        (lambda: network(fit_at=2, reduction="none"), "reduction 'none' does not go with fit_at"),
        (lambda: network(fit_at=2, convolve_fit=2), "fit_at and convolve_fit exclude each other"),
        (lambda: network(fit_at=2, relu_offset=0.1), "must be 0 where a layer is fitted at nodes"),
        (lambda: network(norm="layer"), "batch, instance, running"),
        (lambda: network(dim=4), "'dim' is 4, but must be one of 2, 3"),
        (
            lambda: network()(torch.zeros(2, 5, 2)),
            r"the input is a tensor \[2, 5, 2\], but this network takes mixtures; fit",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("head", ["fc", "mixture"])
def test_a_head_classifies_the_integrals(head):
    model = GMCN([(2, 4)], 3, seed=0, head=head, head_channels=6).double()
    again = GMCN([(2, 4)], 3, seed=0, head=head, head_channels=6).double()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    logits = model(random_mixture(5, 8))
    assert logits.shape == (5, 3)
    logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.head.parameters() if p.requires_grad)
    assert not list(GMCN([(2, 4)], 3).head.parameters())


def sized(scales, per_class=40, dim=3, **options):
    """A network that knows shapes of these scales, one class each, and shapes and labels like them."""
    labels = torch.arange(len(scales)).repeat(per_class)
    mixture = random_mixture(len(labels), 12, dim=dim)
    jitter = torch.exp(0.1 * torch.randn(len(labels), generator=torch.Generator().manual_seed(0)).double())
    scale = (torch.tensor(scales).double()[labels] * jitter)[:, None, None]
    mixture = Mixture(mixture.weights, scale * mixture.positions, scale[..., None] ** 2 * mixture.covariances)
    model = GMCN(LAYERS, len(scales), dim, size=1.0, seed=1, **options).double()
    model.start_(mixture, 0, labels)
    return model, mixture, labels


@DIMS
def test_sizes_tell_classes_apart_whose_shapes_do_not(dim):
    model, mixture, labels = sized([1.0, 3.0, 9.0], dim=dim)
    densities = model.sizes(mixture)
    assert (densities.argmax(1) == labels).double().mean() > 0.95
    model.eval()
    logits, known = model(mixture), model.sizes
    model.sizes = None
    torch.testing.assert_close(logits, model(mixture) + densities)
    moved = Mixture(7 * mixture.weights, mixture.positions + 50, mixture.covariances)
    torch.testing.assert_close(known(moved), densities)
    torch.testing.assert_close(known(mixture.map(lambda tensor: tensor[:, None])), densities)


def test_training_does_not_look_at_sizes():
    """Its logits and the network's first parameters are those of a network without."""
    model, mixture, _ = sized([1.0, 3.0])
    plain = GMCN(LAYERS, 2, seed=1).double()
    assert torch.equal(model(mixture), plain(mixture))
    assert plain.state_dict().keys() == {key for key in model.state_dict() if not key.startswith("sizes")}
    assert model.parameter_counts()["parameters"] == plain.parameter_counts()["parameters"] + 2 * 3 * 3
    again = build(json.loads(json.dumps(model.config)) | {"kind": "gmcn"}).double()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(mixture), model.eval()(mixture))


def test_the_densities_of_sizes_are_densities():
    """They integrate to one over the logarithm of the size, and to what is said of sizes that nobody has seen."""
    model, _, _ = sized([1.0, 5.0])
    sizes = torch.linspace(-4, 6, 4001).double()
    shape = Mixture(torch.ones(1, 1), torch.zeros(1, 1, 3), torch.eye(3)[None, None]).map(torch.Tensor.double)
    many = shape._replace(covariances=(2 * sizes).exp()[:, None, None, None] * shape.covariances)
    many = many._replace(weights=many.weights.expand(4001, 1), positions=many.positions.expand(4001, 1, 3))
    integrals = (model.sizes(many).exp() - math.exp(-7)).sum(0) * (sizes[1] - sizes[0])
    torch.testing.assert_close(integrals, torch.ones(2).double(), rtol=1e-4, atol=1e-4)
    far = many.map(lambda tensor: tensor[:1])._replace(covariances=1e12 * shape.covariances)
    torch.testing.assert_close(model.sizes(far), torch.full((1, 2), -7.0).double())


def test_what_has_no_size_is_as_likely_in_every_class():
    """A point; and a class of which no object was trained on has the sizes of all objects."""
    model, mixture, labels = sized([1.0, 3.0, 9.0])
    point = mixture._replace(positions=torch.zeros_like(mixture.positions), covariances=0 * mixture.covariances)
    assert torch.equal(model.sizes(point), torch.full((len(labels), 3), -7.0).double())
    model.start_(mixture.map(lambda tensor: tensor[labels > 0]), 0, labels[labels > 0])
    found = model.sizes(mixture)[:, 0]
    assert found[labels == 1].min() > -3
    assert found[labels == 2].min() > -3
    assert found[labels == 0].mean() < -3
    assert model.eval()(mixture).isfinite().all()
