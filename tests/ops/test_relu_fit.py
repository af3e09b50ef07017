"""The dense fit of the ReLU: equations (6) and (7)."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops

from . import checks
from .workload import random_mixture, random_rotation, transformed

AUTHORS = {"offset": 0.1, "smoothing": (0.05, 0.05)}
PAPER = {"offset": 0.0, "smoothing": (0.0, 0.0)}
CONSTANTS = pytest.mark.parametrize("constants", [PAPER, AUTHORS], ids=["paper", "authors"])
DIMS = pytest.mark.parametrize("dim", [2, 3])


def with_constants(constants):
    def operation(ops, mixture):
        return ops.relu_fit(mixture, **constants)

    return operation


@CONSTANTS
@DIMS
def test_definition(ops, dim, constants):
    mixture = random_mixture((2,), 9, dim)
    start = mixture.weights.clamp(min=0) + constants["offset"]
    values = ops.evaluate(mixture, mixture.positions).clamp(min=0) + constants["smoothing"][0]
    fitted_values = ops.evaluate(mixture._replace(weights=start), mixture.positions) + constants["smoothing"][1]
    fitted = ops.relu_fit(mixture, **constants)
    torch.testing.assert_close(fitted.weights, start * values / fitted_values)
    assert torch.equal(fitted.positions, mixture.positions)
    assert torch.equal(fitted.covariances, mixture.covariances)


@CONSTANTS
@DIMS
@pytest.mark.parametrize("components", [1, 7, 33, 100])
def test_budget(dim, constants, components):
    checks.assert_budget(with_constants(constants), [random_mixture((2, 3), components, dim)])


@CONSTANTS
@DIMS
def test_budget_thin(dim, constants):
    mixture = random_mixture((2,), 40, dim, smallest=1e-3, largest=1.0, spread=1.0)
    checks.assert_budget(with_constants(constants), [mixture])


@CONSTANTS
@DIMS
def test_twin(dim, constants):
    checks.assert_twins(with_constants(constants), [random_mixture((2, 3), 33, dim)])


@CONSTANTS
@DIMS
def test_gradcheck(ops, dim, constants):
    checks.assert_gradcheck(ops, with_constants(constants), [random_mixture((2,), 5, dim)])


@DIMS
def test_positive_mixtures_stay(ops, dim):
    mixture = random_mixture((2, 3), 33, dim, positive=True)
    torch.testing.assert_close(ops.relu_fit(mixture).weights, mixture.weights)


@DIMS
def test_negative_mixtures_vanish(ops, dim):
    mixture = random_mixture((2, 3), 33, dim, positive=True)
    negative = mixture._replace(weights=-mixture.weights)
    assert (ops.relu_fit(negative).weights == 0).all()


@CONSTANTS
def test_negative_mixtures_have_finite_gradients(ops, constants):
    mixture = random_mixture((2,), 9, 3, positive=True)
    mixture = mixture._replace(weights=-mixture.weights)
    for gradient in checks.run(with_constants(constants), ops, [mixture]):
        assert gradient.isfinite().all()


@DIMS
def test_centres_without_positive_weight_get_exactly_zero(ops, dim):
    mixture = random_mixture((2, 3), 33, dim)
    mixture.weights[..., 4] = 0.0
    weights = ops.relu_fit(mixture).weights
    assert (weights >= 0).all()
    assert (weights[mixture.weights <= 0] == 0).all()
    assert (weights > 0).any()


@CONSTANTS
@DIMS
@pytest.mark.parametrize("wanted", [0, 1, 40])
def test_centres_that_nobody_asks_for(dim, constants, wanted):
    """The backward pass leaves out centres without a gradient; most here, for one reason or another."""

    def operation(ops, mixture):
        weights = ops.relu_fit(mixture, **constants).weights
        return weights * (torch.arange(weights.shape[-1]) < wanted)

    checks.assert_twins(operation, [random_mixture((2,), 70, dim)])


def test_what_is_not_a_number_has_a_gradient_that_is_none():
    """A diverged network must not look like one whose gradient is zero."""
    weights, *shape = random_mixture((1,), 20, 3)
    weights[0, 3] = torch.nan
    weights.requires_grad_()
    gmcn.ops.relu_fit(gmcn.Mixture(weights, *shape)).weights.sum().backward()
    assert weights.grad[weights > 0].isnan().all()


def test_extreme_weights():
    mixture = random_mixture((2,), 33, 3)
    mixture.weights[0] *= 1e8
    mixture.weights[1] *= 1e-8
    checks.assert_budget(with_constants(PAPER), [mixture])


@DIMS
def test_homogeneous(ops, dim):
    """Without constants the fit of a multiple is the multiple of the fit."""
    mixture = random_mixture((2,), 33, dim)
    torch.testing.assert_close(
        ops.relu_fit(mixture._replace(weights=5 * mixture.weights)).weights, 5 * ops.relu_fit(mixture).weights
    )


@DIMS
def test_moves_with_space(ops, dim):
    mixture = random_mixture((2,), 33, dim)
    moved = transformed(mixture, rotation=random_rotation(dim), scale=3.0, shift=2.0)
    torch.testing.assert_close(ops.relu_fit(moved).weights, ops.relu_fit(mixture).weights, rtol=1e-8, atol=1e-10)


def test_order_of_components_does_not_matter(ops):
    mixture = random_mixture((), 33, 3)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    shuffled = ops.relu_fit(mixture.map(lambda tensor: tensor[order]))
    torch.testing.assert_close(shuffled.weights, ops.relu_fit(mixture).weights[order])


def test_isolated_components_are_rectified_exactly(ops):
    """Far from each other, positive components stay and negative ones vanish."""
    mixture = random_mixture((), 8, 3, spread=1e3)
    torch.testing.assert_close(ops.relu_fit(mixture).weights, mixture.weights.clamp(min=0))


@pytest.mark.parametrize(("shape", "components"), [((0,), 5), ((2, 0), 5), ((2,), 0)])
def test_empty(ops, shape, components):
    assert ops.relu_fit(random_mixture(shape, components, 3)).weights.shape == (*shape, components)


@pytest.mark.parametrize("constants", [{"offset": -0.1}, {"smoothing": (0.0, -1.0)}, {"offset": float("inf")}])
def test_bad_input(constants):
    with pytest.raises(ValueError, match="must be a finite number that is not negative"):
        gmcn.ops.relu_fit(random_mixture((2,), 5, 3), **constants)


@pytest.mark.parametrize("name", ["evaluate", "relu_fit"])
def test_covariances_that_are_not_positive_definite(name):
    mixture = random_mixture((2,), 12, 3, positive=True)
    mixture.covariances[1, 3] *= -1
    more = {"evaluate": [mixture.positions], "relu_fit": []}[name]
    with pytest.raises(RuntimeError, match=r"^a covariance of mixture 1 .* is not positive definite"):
        getattr(gmcn.ops, name)(mixture, *more)


@CONSTANTS
def test_determinism(constants):
    checks.assert_deterministic(with_constants(constants), [random_mixture((2, 3), 65, 3)])


def test_strides():
    checks.assert_strides_do_not_matter(with_constants(AUTHORS), [random_mixture((2,), 17, 2)])


def test_no_second_derivative():
    checks.assert_no_second_derivative(with_constants(PAPER), [random_mixture((2,), 5, 3)])


def test_opcheck():
    mixture = random_mixture((2,), 5, 3).map(lambda tensor: tensor.float().requires_grad_())
    checks.opcheck("relu_fit", *mixture, 0.1, 0.05, 0.05, 0.0)


def test_opcheck_backward():
    mixture = random_mixture((2,), 5, 3).to(torch.float32)
    ones = torch.ones(2, 5)
    checks.opcheck("relu_fit_backward", ones, *mixture, ones, ones, 0.1, 0.05, 0.05, 0.0)
