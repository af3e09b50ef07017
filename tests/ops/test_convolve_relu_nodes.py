"""The dense fit of a convolution at the nodes of its positive part."""

from __future__ import annotations

import math

import pytest
import torch

import gmcn.ops
from gmcn import Mixture
from gmcn.ops.reference.convolve_relu_nodes import parts

from . import checks
from .compiled import DEVICE, compiled
from .workload import moments, random_mixture, random_points, transformed

DIMS = pytest.mark.parametrize("dim", [2, 3])
ALL = 3 * 7 * 5  # components of the usual convolution


def to(n):
    def operation(ops, data, kernels):
        return ops.convolve_relu_nodes(data, kernels, n)

    return operation


def inputs(dim, batch=2, channels=3, outputs=4, components=7, kernel_components=5, **options):
    data = random_mixture((batch, channels), components, dim, seed=1, positive=True, **options)
    return data, random_mixture((outputs, channels), kernel_components, dim, seed=2, **options)


def assert_same(found, wanted, **tolerance):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **{"rtol": 1e-9, "atol": 1e-9, **tolerance})


def assert_same_function(found, wanted, found_at=None):
    """For nodes in any order, and empty slots; ``found_at`` are the points where the one is what the other is at 20."""
    points = random_points(wanted.batch_shape, 20, wanted.dim)
    values = compiled.evaluate(found, points if found_at is None else found_at(points))
    torch.testing.assert_close(values, compiled.evaluate(wanted, points), rtol=1e-9, atol=1e-9)


# Against the twin.


@DIMS
@pytest.mark.parametrize("components", [1, 3, 8, 17])
@pytest.mark.parametrize("kernel_components", [1, 5])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 300])
def test_twin(dim, components, kernel_components, n):
    checks.assert_twins(to(n), inputs(dim, components=components, kernel_components=kernel_components), 1e-9)


@DIMS
@pytest.mark.parametrize(("smallest", "largest"), [(1e-6, 1e-4), (1e3, 1e6), (1e-4, 1e4)], ids=["thin", "huge", "both"])
def test_twin_of_thin_and_huge_covariances(dim, smallest, largest):
    checks.assert_twins(to(16), inputs(dim, components=17, smallest=smallest, largest=largest), 1e-9)


@DIMS
@pytest.mark.parametrize(("components", "n"), [(1, 2), (7, 16), (33, 64)])
def test_budget(dim, components, n):
    checks.assert_budget(to(n), inputs(dim, batch=8, components=components))  # one sum that cancels must not decide


@DIMS
def test_budget_far_from_the_origin(dim):
    data, kernels = inputs(dim, batch=8, components=33)
    far = transformed(data, shift=4096.0).map(lambda tensor: tensor.float().double())
    checks.assert_budget(to(32), (far, kernels))


@DIMS
def test_gradcheck(ops, dim):
    checks.assert_gradcheck(ops, to(4), inputs(dim, 1, 2, 2, 2, 2))


@DIMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [1, 16, 64, 300])
def test_the_same_components_meet_in_a_node(dim, dtype, n):
    data, kernels = (value.to(dtype) for value in inputs(dim, components=33))
    *_, mass, f, g, group = (
        tensor.cpu() for tensor in torch.ops.gmcn.convolve_relu_nodes(*data.to(DEVICE), *kernels.to(DEVICE), n)
    )
    nodes, *values, wanted = parts(data, kernels, n)
    assert group.dtype == torch.int16
    assert torch.equal(group.long(), wanted)
    for one, other in zip((mass, f, g), (nodes.weights, *values), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert (f <= g).all()


@DIMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [16, 64, 120])
def test_ties_are_cut_at_their_places_in_the_order(dim, dtype, n):
    """Many centres are the same; what weighs nothing has no place."""
    data, kernels = (
        value._replace(positions=value.positions.round()).to(dtype) for value in inputs(dim, components=17)
    )
    data.weights[:, :, ::3] = 0
    group = torch.ops.gmcn.convolve_relu_nodes(*data.to(DEVICE), *kernels.to(DEVICE), n)[-1].cpu()
    assert torch.equal(group.long(), parts(data, kernels, n)[-1])


# What it does.


@DIMS
@pytest.mark.parametrize("n", [ALL, 2 * ALL])
def test_enough_nodes_are_all_centres(ops, dim, n):
    """Each component is its own node: equations (6) and (7)."""
    data, kernels = inputs(dim)
    assert_same_function(ops.convolve_relu_nodes(data, kernels, n), ops.relu_fit(ops.convolve(data, kernels)))


@DIMS
@pytest.mark.parametrize("n", [1, 2, 17, ALL, 120])
def test_conserves_moments_where_nothing_is_negative(ops, dim, n):
    data, kernels = inputs(dim)
    kernels = kernels._replace(weights=kernels.weights.abs())
    fitted = ops.convolve_relu_nodes(data, kernels, n)
    assert fitted.batch_shape == (2, 4)
    assert fitted.components == n
    assert_same(moments(fitted), moments(ops.convolve(data, kernels)))


@DIMS
@pytest.mark.parametrize("n", [1, 16, ALL])
def test_mass_is_at_most_that_of_the_positive_part(ops, dim, n):
    data, kernels = inputs(dim)
    weights = ops.convolve_relu_nodes(data, kernels, n).weights
    assert (weights >= 0).all()
    assert (weights > 0).any()
    bound = ops.convolve(data, kernels).weights.relu().sum(-1)
    assert (weights.sum(-1) < bound).all()


def test_padding(ops):
    fitted = ops.convolve_relu_nodes(*inputs(3), ALL)
    members = (inputs(3)[1].weights > 0).sum((1, 2)) * 7
    for output, filled in enumerate(members.tolist()):
        assert (fitted.weights[:, output, :filled] > 0).any()
        assert (fitted.weights[:, output, filled:] == 0).all()
        for part in (fitted.positions[:, output], fitted.covariances[:, output]):
            assert torch.equal(part[:, filled:], part[:, :1].expand_as(part[:, filled:]))  # the first node, repeated


@DIMS
def test_covariances_stay_positive(ops, dim):
    assert torch.linalg.eigvalsh(ops.convolve_relu_nodes(*inputs(dim), 16).covariances).min() > 0


@DIMS
def test_moves_and_grows_with_its_input(ops, dim):
    data, kernels = inputs(dim)
    moved = ops.convolve_relu_nodes(transformed(data, scale=2.0, shift=8.0), transformed(kernels, scale=2.0), 16)
    assert_same(moved, transformed(ops.convolve_relu_nodes(data, kernels, 16), scale=2.0, shift=8.0))


@DIMS
@pytest.mark.parametrize("n", [1, 4, 16, ALL])
def test_mirrored_with_its_input(ops, dim, n):
    """At every axis; the nodes have another order then."""
    data, kernels = inputs(dim)
    mirrored = ops.convolve_relu_nodes(transformed(data, scale=-1.0), transformed(kernels, scale=-1.0), n)
    assert_same_function(mirrored, ops.convolve_relu_nodes(data, kernels, n), torch.neg)


@DIMS
@pytest.mark.parametrize("n", [1, ALL])
def test_turned_by_a_right_angle(ops, dim, n):
    """Only where the order of the axes, of which x is cut first, decides nothing."""
    data, kernels = inputs(dim)
    turn = torch.eye(dim, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    turned = ops.convolve_relu_nodes(transformed(data, rotation=turn), transformed(kernels, rotation=turn), n)
    assert_same_function(turned, ops.convolve_relu_nodes(data, kernels, n), lambda points: points @ turn.mT)


@DIMS
def test_the_order_of_components_and_channels_does_not_matter(ops, dim):
    data, kernels = inputs(dim)
    expected = ops.convolve_relu_nodes(data, kernels, 16)
    channels, outputs = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    shuffled = data.map(lambda tensor: tensor[:, channels].flip(2))
    assert_same(
        ops.convolve_relu_nodes(shuffled, kernels.map(lambda tensor: tensor[:, channels].flip(2)), 16), expected
    )
    found = ops.convolve_relu_nodes(data, kernels.map(lambda tensor: tensor[outputs]), 16)
    assert all(torch.equal(one, other[:, outputs]) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("which", [0, 1], ids=["data", "kernels"])
def test_homogeneous_in_the_weights(ops, which):
    given = list(inputs(3))
    expected = ops.convolve_relu_nodes(*given, 16)
    given[which] = given[which]._replace(weights=8 * given[which].weights)
    assert_same(ops.convolve_relu_nodes(*given, 16), expected._replace(weights=8 * expected.weights))


@pytest.mark.parametrize("power", [-80, 70])
def test_weights_whose_products_are_no_numbers_of_float32(ops, power):
    """Densities are divided before anything is multiplied with them."""
    data, kernels = (value.to(torch.float32) for value in inputs(3))
    expected = ops.convolve_relu_nodes(data, kernels, 16).weights
    found = ops.convolve_relu_nodes(data._replace(weights=2.0**power * data.weights), kernels, 16).weights
    torch.testing.assert_close(found, 2.0**power * expected, rtol=1e-4, atol=0)


# What has no weight, or too much.


@DIMS
def test_dead_data(ops, dim):
    """What weighs nothing is no member and moves no box; its own gradient is that of any other component."""
    data, kernels = inputs(dim)
    data.weights[:, :, 3:] = 0
    data.positions[:, :, 3:] += 100
    alive = data.map(lambda tensor: tensor[:, :, :3])
    assert_same(ops.convolve_relu_nodes(data, kernels, 16), ops.convolve_relu_nodes(alive, kernels, 16))
    for tensor in checks.run(to(40), ops, (data, kernels)):
        assert tensor.isfinite().all()
    checks.assert_twins(to(40), (data, kernels), 1e-9)


@DIMS
@pytest.mark.parametrize("of", ["data", "kernels", "negative kernels"])
def test_no_members(ops, dim, of):
    """n empty slots, through which no gradient flows."""
    data, kernels = inputs(dim)
    if of == "data":
        data.weights[:] = 0
    else:
        kernels.weights[:] = 0 if of == "kernels" else -kernels.weights.abs()
    weights, positions, covariances, *gradients = checks.run(to(16), ops, (data, kernels))
    assert (weights == 0).all()
    assert (positions == 0).all()
    assert torch.equal(covariances, torch.eye(dim).double().expand_as(covariances))
    assert all((gradient == 0).all() for gradient in gradients)


def test_centres_that_coincide(ops):
    """No box and no spread: single members all the same, where as many are asked for."""
    data, kernels = (value._replace(positions=torch.zeros_like(value.positions)) for value in inputs(3))
    for n in (1, 3, ALL):
        fitted = ops.convolve_relu_nodes(data, kernels, n)
        assert all(tensor.isfinite().all() for tensor in fitted)
        assert (fitted.positions == 0).all()
    checks.assert_twins(to(16), (data, kernels), 1e-9)


def test_a_node_where_the_convolution_is_negative_weighs_nothing(ops):
    """Between two narrow positive components lies a negative one, and the mean of the two."""
    data = Mixture(torch.ones(1, 1, 1), torch.zeros(1, 1, 1, 2), 0.5 * torch.eye(2).expand(1, 1, 1, 2, 2))
    kernels = Mixture(
        torch.tensor([[[1.0, 1.0, -1.0]]]),
        torch.tensor([[[[-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]]]]),
        0.5 * torch.eye(2).expand(1, 1, 3, 2, 2),
    )
    data, kernels = data.to(torch.float64), kernels.to(torch.float64)
    assert (ops.convolve_relu_nodes(data, kernels, 1).weights == 0).all()
    assert (ops.convolve_relu_nodes(data, kernels, 2).weights > 0.8).all()


def test_gradients_where_the_positive_part_is_almost_nothing():
    """The mean of two wide members that are far apart: from where g is a normal number to where it is zero."""
    wide = 50 * torch.eye(3)
    data = Mixture(torch.ones(1, 1, 1), torch.zeros(1, 1, 1, 3), wide.expand(1, 1, 1, 3, 3))
    for distance in torch.linspace(120, 140, 50).tolist():
        positions = torch.tensor([[[[-distance, 0.0, 0.0], [distance, 0.0, 0.0]]]])
        kernels = Mixture(torch.full((1, 1, 2), 1e4), positions, wide.expand(1, 1, 2, 3, 3))
        for tensor in checks.run(to(1), compiled, (data, kernels), torch.float32):
            assert tensor.isfinite().all()


@DIMS
@pytest.mark.parametrize("of", ["data", "kernels", "a shape without members"])
def test_weights_that_are_no_numbers_are_not_lost(ops, dim, of):
    """They belong to no node, and without any node an output is else empty."""
    data, kernels = inputs(dim)
    if of == "data":
        data.weights[1] = math.nan
    elif of == "kernels":
        kernels.weights[2] = math.nan
    else:
        kernels.weights[2] = -kernels.weights[2].abs()
        data.weights[1, 2, 3] = math.nan
    weights = ops.convolve_relu_nodes(data, kernels, 8).weights
    lost = torch.zeros(2, 4, dtype=torch.bool)
    lost[slice(None) if of == "kernels" else 1, 2 if of == "kernels" else slice(None)] = True
    assert weights[lost].isnan().all()
    assert weights[~lost].isfinite().all()


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU gives not-a-number")
def test_negative_weights_are_refused():
    data, kernels = inputs(3)
    data.weights[1, 2, 3] = -1e-3
    with pytest.raises(RuntimeError, match=r"convolve_relu_nodes: .* a negative weight"):
        gmcn.ops.convolve_relu_nodes(data, kernels, 16)


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU gives not-a-number")
@pytest.mark.parametrize("which", [0, 1], ids=["positive kernel", "negative kernel"])
def test_covariances_that_are_not_positive_definite_are_refused(which):
    data, kernels = inputs(3)
    kernels.weights[3, 1, 2] = (1.0, -1.0)[which]
    kernels.covariances[3, 1, 2] = -2 * torch.eye(3)
    with pytest.raises(RuntimeError, match=r"mixture 3 .* is not positive definite"):
        gmcn.ops.convolve_relu_nodes(data, kernels, 16)


@pytest.mark.parametrize("empty", ["batch", "outputs", "components", "kernel_components", "channels"])
def test_empty(empty):
    """Nothing convolved is n empty slots, and gradients of nothing."""
    weights, _, covariances, *gradients = checks.run(to(4), compiled, inputs(3, **{empty: 0}))
    assert (weights == 0).all()
    assert torch.equal(covariances, torch.eye(3).double().expand(*weights.shape, 3, 3))
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, 32_768, 2**40])
def test_numbers_of_nodes_that_there_cannot_be(n):
    with pytest.raises(ValueError, match=r"n must be (a positive integer|at most 32767), got"):
        gmcn.ops.convolve_relu_nodes(*inputs(2), n)
    assert gmcn.ops.convolve_relu_nodes(*inputs(2, 1, outputs=1), 32_767).components == 32_767


def test_what_does_not_fit_is_named():
    data, kernels = inputs(3)
    with pytest.raises(ValueError, match="channels"):
        gmcn.ops.convolve_relu_nodes(data.map(lambda tensor: tensor[:, :2]), kernels, 4)
    one, many = random_mixture((1, 1), 1, 2, positive=True), random_mixture((1, 1), 65537, 2)
    data = one.map(lambda tensor: tensor.expand(1, 1, 65536, *tensor.shape[3:]))
    with pytest.raises(RuntimeError, match=r"convolve_relu_nodes: .* are more than \d+"):
        gmcn.ops.convolve_relu_nodes(data, many, 4)


# As a citizen of torch.


def test_deterministic():
    checks.assert_deterministic(to(16), inputs(3, 5))


@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("outputs", [1, 3])
def test_tasks_add_up(batch, outputs):
    """They group shapes and channels by size: each shape's result is the same alone, and gradients of kernels add."""
    data, kernels = inputs(3, batch, 2, outputs, 3, 2)

    def gradients(data):
        leaves = kernels.map(lambda tensor: tensor.clone().requires_grad_())
        return torch.autograd.grad(compiled.convolve_relu_nodes(data, leaves, 4).weights.square().sum(), leaves)

    alone = [gradients(data.map(lambda tensor, b=b: tensor[b : b + 1])) for b in range(batch)]
    assert_same(gradients(data), map(sum, zip(*alone, strict=True)))


def test_strides_do_not_matter():
    checks.assert_strides_do_not_matter(to(16), inputs(3))


def test_no_second_derivative():
    checks.assert_no_second_derivative(to(16), inputs(3))


def test_opcheck():
    data, kernels = (value.to(torch.float32).map(torch.Tensor.requires_grad_) for value in inputs(3))
    checks.opcheck("convolve_relu_nodes", *data, *kernels, 16)


def test_opcheck_backward():
    data, kernels = (value.to(torch.float32) for value in inputs(3))
    _, *nodes = (
        tensor.cpu() for tensor in torch.ops.gmcn.convolve_relu_nodes(*data.to(DEVICE), *kernels.to(DEVICE), 16)
    )
    upstream = random_mixture((2, 4), 16, 3).to(torch.float32)
    checks.opcheck("convolve_relu_nodes_backward", *upstream, *data, *kernels, *nodes, 16)


def test_compiled_by_torch():
    data, kernels = (value.map(torch.Tensor.requires_grad_) for value in inputs(3))

    def gradients(function):
        weights, positions, covariances = function(data, kernels)
        loss = (weights.square()[..., None] * positions).sum() + covariances.square().sum()
        return torch.autograd.grad(loss, [*data, *kernels])

    def function(data, kernels):
        return gmcn.ops.convolve_relu_nodes(data, kernels, 16)

    torch._dynamo.reset()
    compiled_function = torch.compile(function, backend="aot_eager", fullgraph=True)
    for one, other in zip(gradients(compiled_function), gradients(function), strict=True):
        assert torch.equal(one, other)


def test_gradients_of_another_shape_are_refused():
    data, kernels = inputs(2)
    _, *nodes = torch.ops.gmcn.convolve_relu_nodes(*data, *kernels, 4)
    with pytest.raises(RuntimeError, match="weights_gradient has the wrong shape"):
        torch.ops.gmcn.convolve_relu_nodes_backward(*random_mixture((2, 4), 3, 2), *data, *kernels, *nodes, 4)
