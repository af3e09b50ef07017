"""A whole block and its small parts."""

from __future__ import annotations

import pytest
import torch

from gmcn import ops
from gmcn.errors import InputError
from gmcn.nn import GCL, MixtureNorm, Reduction, ReLUFit, rescale
from gmcn.nn.norm import mean_variance

from .workload import random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])


def block(*arguments, **options):
    return GCL(*arguments, generator=torch.Generator().manual_seed(0), **options).double()


@DIMS
@pytest.mark.parametrize("reduction", ["treehem2", "treehem4", "em"])
def test_stages(dim, reduction):
    layer, mixture = block(3, 4, 8, dim=dim, reduction=reduction), random_mixture(2, 3, 7, dim=dim)
    convolved, fitted, reduced = layer.stages(mixture)
    assert convolved.weights.shape == fitted.weights.shape == (2, 4, 7 * 3 * 5)
    assert reduced.weights.shape == (2, 4, 8)
    assert (convolved.weights < 0).any()
    assert (fitted.weights >= 0).all()
    assert torch.equal(fitted.positions, convolved.positions)
    normed = MixtureNorm(4).double()(reduced)
    for one, other in zip(layer(mixture), normed, strict=True):
        assert torch.equal(one, other)


def test_without_reduction():
    layer, mixture = block(3, 4, None, norm=None), random_mixture(2, 3, 7)
    _, fitted, reduced = layer.stages(mixture)
    assert reduced is fitted
    assert torch.equal(layer(mixture).weights, fitted.weights)


@pytest.mark.parametrize(("components", "given"), [(8, 7), (8, 20), (4, 4)])
def test_skip(components, given):
    """The input goes on beside the output, reduced likewise or filled up, and the norm is over both."""
    layer, mixture = block(3, 4, components, skip=True), random_mixture(2, 3, given)
    mixture = mixture._replace(weights=mixture.weights.abs())
    found = layer(mixture)
    assert found.weights.shape == (2, 4 + 3, components)
    assert layer.out_channels == layer.norm.channels == 4 + 3
    reduced, skipped = layer.stages(mixture)[2], Reduction("treehem2", components)(mixture)
    scales = [mean_variance(part, (0, 2), True).rsqrt() for part in (reduced, skipped)]
    for part, scale, at in ((reduced, scales[0], slice(0, 4)), (skipped, scales[1], slice(4, 7))):
        expected = rescale(part, scale.expand(part.batch_shape))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[:, at, : part.components], other)
    assert (found.weights[:, 4:, given:] == 0).all()


def test_nothing_skips_a_layer_that_is_not_reduced():
    with pytest.raises(InputError, match="skip needs a number of components"):
        GCL(3, 4, None, skip=True)


def test_the_relu_of_weights_alone():
    """Appendix G: positive kernels on a positive mixture then act as if there were no activation."""
    layer, mixture = block(3, 4, 8, rectified="weights", norm=None), random_mixture(2, 3, 7)
    convolved, fitted, reduced = layer.stages(mixture)
    assert torch.equal(fitted.weights, convolved.weights.clamp(min=0))
    assert torch.equal(layer(mixture).weights, reduced.weights)
    with torch.no_grad():
        layer.convolution.raw_weights.abs_()
    convolved, fitted, _ = layer.stages(mixture._replace(weights=mixture.weights.abs()))
    assert torch.equal(fitted.weights, convolved.weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rectified": "weights", "fit_at": 16}, "rectified 'weights' does not go with fit_at"),
        ({"rectified": "weight"}, "unknown value of rectified 'weight'; did you mean 'weights'"),
        ({"rectified": "weights", "relu_offset": 0.1}, "offset 0.1 .* are of the dense fit"),
        ({"skip": True, "fit_at": 4}, "skip needs fit_at and convolve_fit of at least components"),
        ({"skip": True, "convolve_fit": 4}, "skip needs fit_at and convolve_fit of at least components"),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(InputError, match=words):
        GCL(3, 4, 8, **options)


def test_convolve_fit():
    layer, mixture = block(3, 4, 8, convolve_fit=16), random_mixture(2, 3, 7)
    convolved, _, reduced = layer.stages(mixture)
    assert convolved.components == 16
    assert reduced.components == 8
    exact = ops.convolve(mixture, layer.convolution.kernels())
    torch.testing.assert_close(3 * ops.integrate(convolved), ops.integrate(exact))


@DIMS
@pytest.mark.parametrize("reduction", ["treehem2", "em"])
def test_fit_at_nodes(dim, reduction):
    layer, mixture = block(3, 4, 8, dim=dim, fit_at=16, reduction=reduction), random_mixture(2, 3, 7, dim=dim)
    convolved, fitted, reduced = layer.stages(mixture)
    assert (convolved.components, fitted.components, reduced.components) == (7 * 3 * 5, 16, 8)
    kernels = layer.convolution.kernels()
    kernels = kernels._replace(weights=kernels.weights / 3)
    for one, other in zip(fitted, ops.convolve_relu_nodes(mixture, kernels, 16), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(layer(mixture), layer.norm(layer.reduction(fitted)), strict=True):
        assert torch.equal(one, other)


def test_a_layer_at_nodes_moves_and_grows_with_its_input():
    """Also where members are too few for its nodes: those slots must not stand anywhere of their own."""
    layer, mixture = block(3, 4, 8, fit_at=100, norm=None), random_mixture(2, 3, 7)
    assert (layer.stages(mixture)[1].weights == 0).any(-1).all()
    moved = mixture._replace(positions=mixture.positions + torch.tensor([30.0, -20.0, 10.0]))
    expected, found = layer(mixture), layer(moved)
    shift = found.positions - expected.positions
    live = expected.weights > 1e-3 * expected.weights.amax(-1, keepdim=True)
    assert torch.allclose(found.weights, expected.weights, rtol=1e-9, atol=1e-12)
    assert torch.allclose(shift[live], torch.tensor([30.0, -20.0, 10.0]).to(shift), rtol=1e-6)


@pytest.mark.parametrize(
    ("components", "nodes", "given", "fitted", "left"),
    [(8, 8, 7, 8, 8), (8, 200, 7, 105, 8), (None, 64, 7, 64, 64), (8, 4, 7, 4, 4), (8, 16, 0, 1, 1)],
    ids=["nothing to reduce", "few components", "no reduction", "fewer nodes than wanted", "nothing given"],
)
def test_numbers_of_nodes(components, nodes, given, fitted, left):
    layer = block(3, 4, components, fit_at=nodes)
    stages = layer.stages(random_mixture(2, 3, given))
    assert [stage.components for stage in stages] == [given * 3 * 5, fitted, left]


def test_all_centres_are_nodes_where_there_are_enough():
    nodes, exact = (block(3, 4, None, norm=None, fit_at=count) for count in (105, None))
    mixture = random_mixture(2, 3, 7)
    torch.testing.assert_close(ops.integrate(nodes(mixture)), ops.integrate(exact(mixture)))


def test_division_by_channels():
    mixture = random_mixture(2, 3, 7)
    mean, total = (block(3, 4, None, divide_by_channels=divide).stages(mixture)[0] for divide in (True, False))
    torch.testing.assert_close(3 * mean.weights, total.weights)


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "em"}, {"convolve_fit": 16}, {"fit_at": 16}, {"fit_at": 8}, {"norm": "instance"}]
)
def test_gradients_reach_everything(options):
    layer = block(3, 4, 8, **options)
    mixture = random_mixture(2, 3, 7).map(lambda tensor: tensor.requires_grad_())
    output = layer(mixture)
    loss = sum((torch.randn_like(tensor) * tensor).sum() for tensor in output)
    for gradient in torch.autograd.grad(loss, [*mixture, *layer.parameters()]):
        assert gradient.isfinite().all()
        assert (gradient != 0).any()


def test_relu_fit_layer():
    mixture = random_mixture(2, 3, 7)
    expected = ops.relu_fit(mixture, offset=0.1, smoothing=(0.05, 0.02))
    assert torch.equal(ReLUFit(0.1, [0.05, 0.02])(mixture).weights, expected.weights)
    assert torch.equal(ReLUFit()(mixture).weights, ops.relu_fit(mixture).weights)


@pytest.mark.parametrize(("method", "t"), [("treehem2", 2), ("treehem4", 4), ("treehem3", 3)])
def test_reduction_layer(method, t):
    mixture = random_mixture(2, 3, 17)
    assert torch.equal(Reduction(method, 6)(mixture).weights, ops.reduce_treehem(mixture, 6, t).weights)


def test_reduction_layer_em_and_none():
    mixture = random_mixture(2, 3, 17)
    assert torch.equal(Reduction("em", 6)(mixture).weights, ops.reduce_em(mixture, 6).weights)
    assert Reduction("none")(mixture) is mixture


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Reduction("treehem0", 4), "unknown reduction 'treehem0'.*treehem2"),
        (lambda: Reduction("tree", 4), "unknown reduction 'tree'"),
        (lambda: Reduction("em"), "components is None"),
        (lambda: Reduction("treehem2", 0), "components is 0"),
        (lambda: GCL(1, 2, 4, convolve_fit=0), "convolve_fit is 0"),
        (lambda: GCL(1, 2, 4, fit_at=0), "fit_at is 0 nodes; it must lie in 1 to 32767"),
        (lambda: GCL(1, 2, 4, fit_at=32768), "fit_at is 32768 nodes"),
        (lambda: GCL(1, 2, 4, fit_at=8, convolve_fit=8), "fit_at and convolve_fit exclude each other"),
        (lambda: GCL(1, 2, 4, fit_at=8, relu_offset=0.1), r"relu_offset 0\.1 and .* must be 0 where a layer"),
        (lambda: GCL(1, 2, 4, fit_at=8, relu_smoothing=(0.0, 0.5)), r"relu_smoothing \[0\.0, 0\.5\] must be 0"),
        (lambda: GCL(1, 2, 4, fit_at=8, reduction="none"), "reduction 'none' does not go with fit_at"),
        (lambda: block(3, 4, 8, fit_at=8)(random_mixture(2, 2, 7)), r"\[2, 2, 7\].*\[B, 3, N\]"),
        (lambda: block(3, 4, 8)(random_mixture(2, 2, 7)), r"\[2, 2, 7\].*\[B, 3, N\]"),
        (lambda: block(3, 4, 8)(random_mixture(2, 7)), r"\[2, 7\].*\[B, 3, N\]"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_printed_form():
    text = repr(GCL(3, 4, 8, dim=2, convolve_fit=16))
    for words in ("treehem2", "dim=2", "offset=0.0", "convolve_fit=16", "mode='batch'"):
        assert words in text
    assert "fit_at=16" in repr(GCL(3, 4, 8, fit_at=16))
