"""Evaluation: equations (1) and (2)."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops
from gmcn import Mixture
from gmcn.results.allocations import peak_of_allocations

from . import checks
from .compiled import compiled
from .workload import plain_values, random_mixture, random_points, random_rotation, transformed


def operation(ops, mixture, points):
    return ops.evaluate(mixture, points)


def inputs(dim, components=33, points=20, shape=(2, 3), **options):
    return random_mixture(shape, components, dim, **options), random_points(shape, points, dim)


@pytest.mark.parametrize("dim", [2, 3])
def test_definition(ops, dim):
    mixture, points = inputs(dim, components=4, points=3, shape=())
    values = ops.evaluate(mixture, points)
    expected = [plain_values(mixture, point) for point in points]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=values.dtype), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("components", "points"), [(1, 1), (7, 33), (33, 7), (100, 129)])
def test_budget(dim, components, points):
    checks.assert_budget(operation, inputs(dim, components, points))


@pytest.mark.parametrize("dim", [2, 3])
def test_budget_thin(dim):
    """Needles and sheets, a hundred times as long as thick, seen from close by."""
    mixture = random_mixture((2,), 40, dim, smallest=1e-4, largest=1.0)
    points = mixture.positions + 0.01 * random_points((2,), 40, dim)
    checks.assert_budget(operation, (mixture, points.float().double()))


@pytest.mark.parametrize("dim", [2, 3])
def test_twin(dim):
    checks.assert_twins(operation, inputs(dim))


@pytest.mark.parametrize("dim", [2, 3])
def test_gradcheck(ops, dim):
    checks.assert_gradcheck(ops, operation, inputs(dim, components=3, points=4, shape=(2,)))


def test_extreme_weights():
    mixture, points = inputs(3)
    mixture.weights[..., ::2] *= 1e12
    mixture.weights[..., 1::4] = 0
    checks.assert_budget(operation, (mixture, points))


def test_far_away(ops):
    """Values underflow to zero and gradients stay finite."""
    mixture, points = (value.to(torch.float32) for value in inputs(3, shape=(1,)))
    points = (points + 1e4).requires_grad_()
    values = ops.evaluate(mixture, points)
    assert (values == 0).all()
    assert (torch.autograd.grad(values.sum(), points)[0] == 0).all()


def test_determinism():
    checks.assert_deterministic(operation, inputs(3, 100, 65))
    checks.assert_deterministic(operation, inputs(3, 1100, 1000, shape=(2,)))  # in slices


def test_strides():
    checks.assert_strides_do_not_matter(operation, inputs(2))


@pytest.mark.parametrize(
    ("left", "right"),
    [((), (4,)), ((3, 1), (1, 2)), ((2, 3), (3,)), ((1,), ()), ((1,), (2, 3)), ((1, 1), (4,)), ((), (0,))],
)
def test_broadcast(ops, left, right):
    mixture, points = random_mixture(left, 5, 3), random_points(right, 6, 3)
    shape = torch.broadcast_shapes(left, right)
    full = Mixture(
        mixture.weights.expand(*shape, 5),
        mixture.positions.expand(*shape, 5, 3),
        mixture.covariances.expand(*shape, 5, 3, 3),
    )
    values = ops.evaluate(mixture, points)
    assert values.shape == (*shape, 6)
    torch.testing.assert_close(values, ops.evaluate(full, points.expand(*shape, 6, 3)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("left", "right"), [((1, 3), (2, 1)), ((1,), (2, 3))])
def test_broadcast_gradient(left, right):
    """The gradient of an input that was broadcast is the sum over its copies."""
    checks.assert_twins(operation, (random_mixture(left, 5, 2), random_points(right, 6, 2)))


def test_one_mixture_at_points_of_any_shape_is_not_copied():
    mixture, points = random_mixture((), 1000, 2), random_points((20, 10), 1, 2)
    assert peak_of_allocations(lambda: compiled.evaluate(mixture, points)) < 20_000
    flat = compiled.evaluate(mixture, points.flatten(0, 2))
    assert torch.equal(compiled.evaluate(mixture, points), flat.reshape(20, 10, 1))


@pytest.mark.parametrize(("shape", "components", "points"), [((0,), 5, 6), ((2,), 5, 0), ((2,), 0, 6)])
def test_empty(ops, shape, components, points):
    values = ops.evaluate(*inputs(3, components, points, shape))
    assert values.shape == (*shape, points)
    assert (values == 0).all()


@pytest.mark.parametrize("dim", [2, 3])
def test_moves_with_space(ops, dim):
    mixture, points = inputs(dim)
    rotation, shift = random_rotation(dim), torch.arange(1.0, dim + 1, dtype=torch.float64)
    moved = ops.evaluate(
        transformed(mixture, rotation=rotation, scale=2.0, shift=shift), 2 * points @ rotation.mT + shift
    )
    torch.testing.assert_close(moved * 2**dim, ops.evaluate(mixture, points), rtol=1e-9, atol=1e-12)


def test_order_of_components_does_not_matter(ops):
    mixture, points = inputs(3)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    shuffled = Mixture(
        mixture.weights[..., order], mixture.positions[..., order, :], mixture.covariances[..., order, :, :]
    )
    torch.testing.assert_close(ops.evaluate(shuffled, points), ops.evaluate(mixture, points))


def test_integral_of_values(ops):
    """The sum over a fine grid is the integral that integrate() states."""
    mixture = random_mixture((2,), 6, 2, spread=1.0)
    axis = torch.arange(-12, 12, 0.1, dtype=torch.float64)
    values = ops.evaluate(mixture, torch.cartesian_prod(axis, axis))
    torch.testing.assert_close(values.sum(-1) * 0.1**2, ops.integrate(mixture), rtol=1e-9, atol=1e-9)


def test_no_second_derivative():
    checks.assert_no_second_derivative(operation, inputs(3))


def test_opcheck():
    mixture, points = (value.to(torch.float32) for value in inputs(3, 5, 4, shape=(2,)))
    arguments = [tensor.requires_grad_() for tensor in (*mixture, points)]
    checks.opcheck("evaluate", *arguments, 0.0)


@pytest.mark.parametrize("points_gradient", [True, False])
def test_opcheck_backward(points_gradient):
    mixture, points = (value.to(torch.float32) for value in inputs(3, 5, 4, shape=(2,)))
    checks.opcheck("evaluate_backward", torch.ones(2, 4), *mixture, points, 0.0, points_gradient)


def test_a_gradient_of_the_points_that_nobody_wants_changes_no_other():
    mixture, points = (value.to(torch.float32) for value in inputs(3, 70, 90, shape=(2,)))
    arguments = (torch.randn(2, 90, generator=torch.Generator().manual_seed(0)), *mixture, points)
    *both, of_points = torch.ops.gmcn.evaluate_backward(*arguments, 0.0, True)
    *alone, empty = torch.ops.gmcn.evaluate_backward(*arguments, 0.0, False)
    assert all(torch.equal(a, b) for a, b in zip(both, alone, strict=True))
    assert of_points.shape == points.shape
    assert empty.numel() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, p: (m, p[..., :2]), r"points .*3D.*\[2, 3, 4, 2\]"),
        (lambda m, p: (m._replace(weights=m.weights[..., :4]), p), r"\[2, 3, 5, 3\].*\[2, 3, 4\]"),
        (lambda m, p: (m.map(lambda tensor: tensor.half()), p.half()), "float16"),
        (lambda m, p: (m, p.float()), "float32.*float64"),
        (lambda m, p: (m, p[:, :2]), r"\[2, 2\].*\[2, 3\]"),
        (lambda m, p: (m._replace(covariances=m.covariances[..., 0]), p), "covariances"),
    ],
    ids=["dimension", "components", "half", "mixed", "batch", "covariances"],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError, match=words):
        gmcn.ops.evaluate(*change(*inputs(3, 5, 4)))
