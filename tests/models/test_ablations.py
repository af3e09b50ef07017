"""The options that the paper leaves open: the defaults are the network without them, each does what it says."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn import ops
from gmcn.config import SCHEMA, load, resolve
from gmcn.errors import InputError
from gmcn.models import GMCN
from gmcn.nn import GCL, Reduction, rescale
from gmcn.nn.norm import mean_variance

from ..nn.workload import random_mixture

LAYERS = ((4, 8), (6, 4))
OPTIONS = [
    {"reduction_count": "authors"},
    {"reduction_count": "authors", "reduction": "treehem4"},
    {"kl_threshold": None},
    {"kl_threshold": 0.05},
    {"virtual_samples": 20.0},
    {"em_refine": 1},
    {"em_refine": 2, "reduction": "em"},
    {"em_refine": 1, "reduction_count": "authors", "convolve_fit": 4},
    {"reduction": "treehem8"},
    {"fit_at": 2, "fit_at_last": 16},
    {"fit_at": 4, "em_refine": 1, "reduction_count": "authors"},
    {"skip": True},
    {"skip": True, "fit_at": 4, "reduction": "em"},
]
WITH = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items()))


def network(dim=3, **options):
    return GMCN(LAYERS, 5, dim, **{"seed": 1, **options}).double()


def dense_mixture():
    """So close that TreeHEM's gate and samples matter."""
    mixture = random_mixture(3, 40)
    return mixture._replace(positions=0.3 * mixture.positions)


def results(model, mixture, forward=None):
    """Logits and the gradients of all parameters."""
    model.zero_grad()
    output = (forward or type(model).forward)(model, mixture)
    loss = torch.nn.functional.cross_entropy(output, torch.tensor([0, 3, 4]))
    return [output.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def plain_forward(model, mixture):
    """The network without any options, in operations."""
    mixture = model.normalize_input(mixture)
    for block in model.blocks:
        kernels = block.convolution.kernels()
        kernels = kernels._replace(weights=kernels.weights / block.convolution.in_channels)
        if block.norm is None:
            mixture = ops.relu_fit(ops.convolve(mixture, kernels))
            break
        weights = ops.convolve_relu_fit(mixture, kernels)
        mixture = ops.convolve_reduce_treehem(weights, mixture, kernels, block.reduction.components, 2)
        mixture = rescale(mixture, mean_variance(mixture, (0, 2), True).rsqrt().expand(mixture.batch_shape))
    return model.output_norm(mixture.weights.sum(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_defaults_change_no_bit(dtype):
    model, mixture = network().to(dtype), random_mixture(3, 12, dtype=dtype)
    spelled_out = network(
        reduction_count="exact", kl_threshold=0.5, virtual_samples=4.0, em_refine=0, norm_gradient=True
    ).to(dtype)
    plain = results(model, mixture, plain_forward)
    for other in (results(model, mixture), results(spelled_out, mixture)):
        assert all(torch.equal(*pair) for pair in zip(plain, other, strict=True))


@WITH
def test_option(options):
    """Changes the logits, keeps the shapes, lets gradients through; the saved configuration builds the same network."""
    model, mixture = network(**options), dense_mixture()
    found = results(model, mixture)
    assert not torch.allclose(found[0], network()(mixture), rtol=1e-6, atol=1e-6)
    assert all(tensor.isfinite().all() and (tensor != 0).any() for tensor in found)
    again = GMCN(**json.loads(json.dumps(model.config, allow_nan=False))).double()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(mixture), model.eval()(mixture))


def test_the_relu_of_weights_alone():
    """Appendix G: no gradient reaches a negative kernel, and the last layer does not see where anything is."""
    model = network(rectified="weights")
    loss = torch.nn.functional.cross_entropy(model(dense_mixture()), torch.tensor([0, 3, 4]))
    loss.backward()
    *_, last = (block.convolution for block in model.blocks)
    assert last.raw_positions.grad is None
    for block in model.blocks:
        weights = block.convolution.raw_weights
        assert torch.equal(weights.grad != 0, block.convolution.kernels().weights > 0)
        assert (weights.grad == 0).any()
    # So it sees of a shape no more than the sum of its weights.
    shapes = []
    for mixture in (dense_mixture(), random_mixture(3, 5)):
        weights = mixture.weights.abs()
        shapes.append(
            mixture._replace(weights=weights / weights.sum(-1, keepdim=True)).map(lambda tensor: tensor[:, None])
        )
    for block in model.blocks:
        shapes = [block(shape) for shape in shapes]
    torch.testing.assert_close(*(shape.weights.sum(-1) for shape in shapes))


@WITH
def test_stored_and_unstored_convolutions_agree(options):
    """A block gives what its stages give, whether or not it stores the convolution."""
    model, data = network(**options), dense_mixture()
    block = model.blocks[0]
    mixture = model.normalize_input(data)
    stages = block.onward(mixture, block.stages(mixture)[2])
    for one, other in zip(block(mixture), stages, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_without_the_gradient_through_the_scale():
    model, mixture = network(norm_gradient=False), random_mixture(3, 12)
    detached, whole = results(model, mixture), results(network(), mixture)
    assert torch.equal(detached[0], whole[0])
    assert not torch.allclose(detached[1], whole[1])
    # The last block has no norm behind it.
    assert torch.equal(detached[-5], whole[-5])


@pytest.mark.parametrize(
    ("method", "n", "fitted"),
    [(2, 2, 2), (2, 4, 2), (2, 8, 6), (2, 64, 62), (4, 4, 4), (4, 8, 4), (4, 16, 12), (4, 2, 2)],
)
def test_authors_count(method, n, fitted):
    """Their code fits so many of 100 components; the others are padding."""
    mixture = random_mixture(2, 3, 100)
    output = Reduction(f"treehem{method}", n, count="authors")(mixture)
    assert output.components == n
    expected = ops.reduce_treehem(mixture, fitted, method)
    for one, other in zip(output, expected, strict=True):
        assert torch.equal(one[:, :, :fitted], other)
    assert (output.weights[:, :, fitted:] == 0).all()
    assert (output.positions[:, :, fitted:] == 0).all()
    variance = mixture.covariances.diagonal(dim1=-2, dim2=-1).mean((2, 3))[..., None, None, None]
    padding = output.covariances[:, :, fitted:]
    torch.testing.assert_close(padding, (variance * torch.eye(3).double()).expand_as(padding))


@pytest.mark.parametrize("options", [{"count": "authors"}, {"em_refine": 1}])
@pytest.mark.parametrize("components", [5, 8])
def test_few_components_stay(options, components):
    mixture = random_mixture(2, 3, components)
    for one, other in zip(Reduction("treehem2", 8, **options)(mixture), mixture, strict=True):
        assert torch.equal(one, other)
    block = GCL(1, 2, 8, kernel_components=1, reduction_options=options).double()
    assert block(random_mixture(2, 1, components)).components == components


def test_refinement_conserves_what_the_dense_fit_has():
    for options in ({}, {"em_refine": 2}, {"em_refine": 2, "reduction": "em"}):
        model = network(**options)
        _, dense, reduced = model.blocks[0].stages(model.normalize_input(random_mixture(3, 12)))
        mean = [(some.weights[..., None] * some.positions).sum(2) for some in (dense, reduced)]
        torch.testing.assert_close(*mean)
        torch.testing.assert_close(ops.integrate(dense), ops.integrate(reduced))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"reduction_count": "author"},
            "'reduction_count' is 'author', but must be one of exact, authors; did you mean 'authors'",
        ),
        ({"kl_threshold": -1.0}, r"'kl_threshold' is -1\.0, but must be at least 0"),
        ({"kl_threshold": float("nan")}, "'kl_threshold' is nan"),
        ({"virtual_samples": -2}, "'virtual_samples' is -2"),
        ({"em_refine": -1}, "'em_refine' is -1"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(InputError, match=words):
        network(**options)


def test_variants_of_the_configuration():
    """Each differs from `small` in its network or its training only, and can be built."""
    config = load(SCHEMA.parents[2] / "config.yaml")
    small = resolve(config, "modelnet10", "small")
    names = [name for name in config["variants"] if name.startswith("ablation-")]
    assert len(names) >= 11
    for name in names:
        settings = resolve(config, "modelnet10", name)
        assert [key for key in small if settings[key] != small[key]] in (["network"], ["training"])
        assert settings.keys() == small.keys()
        GMCN(classes=10, seed=0, **settings["network"])
