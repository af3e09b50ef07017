"""The norms: average variance one, activation one."""

from __future__ import annotations

import pytest
import torch

from gmcn import Mixture, ops
from gmcn.errors import InputError
from gmcn.nn import MixtureNorm, mean_activation, rescale
from gmcn.nn.norm import mean_variance

from .workload import random_mixture

MODES = pytest.mark.parametrize("mode", ["batch", "instance", "running"])
DIMS = pytest.mark.parametrize("dim", [2, 3])
WEIGHTED = pytest.mark.parametrize("weighted", [True, False])


@DIMS
@WEIGHTED
def test_average_trace_is_the_dimension(dim, weighted):
    """Section 4.3: per sample, or over the batch."""
    mixture = random_mixture(4, 3, 7, dim=dim)
    normed = MixtureNorm(3, mode="instance", weighted=weighted)(mixture)
    torch.testing.assert_close(mean_variance(normed, (2,), weighted), torch.ones(4, 3).double())
    normed = MixtureNorm(3, mode="batch", weighted=weighted).double()(mixture)
    torch.testing.assert_close(mean_variance(normed, (0, 2), weighted), torch.ones(3).double())


@MODES
def test_stretches_space(mode):
    """Values at stretched points, and integrals, are those of one scaling."""
    mixture = random_mixture(2, 3, 7)
    normed = MixtureNorm(3, mode=mode).double()(mixture)
    scale = (normed.positions / mixture.positions)[:, :, :1, :1]
    points = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    values = ops.evaluate(normed, scale * points)
    torch.testing.assert_close(values * scale[..., 0] ** 3, ops.evaluate(mixture, points))
    assert torch.equal(normed.weights, mixture.weights)


@MODES
def test_gradient(mode):
    """Through the scale, except in the authors' mode."""
    mixture = random_mixture(2, 3, 4, dim=2)

    def positions_of(covariances):
        torch.manual_seed(0)
        norm = MixtureNorm(3, mode=mode).double()
        return norm(mixture._replace(covariances=covariances)).positions

    covariances = mixture.covariances.requires_grad_()
    if mode == "running":
        assert not positions_of(covariances).requires_grad
    else:
        assert torch.autograd.gradcheck(positions_of, covariances)


def test_evaluation_uses_running_averages():
    norm = MixtureNorm(3).double()
    batches = [random_mixture(2, 3, 7, seed=seed) for seed in range(3)]
    for batch in batches:
        norm(batch)
    expected = torch.stack([mean_variance(batch, (0, 2), True) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.variance, expected)  # a plain mean at first
    norm.eval()
    one, both = norm(batches[0].map(lambda tensor: tensor[:1])), norm(batches[0])
    assert torch.equal(one.positions, both.positions[:1])
    torch.testing.assert_close(both.positions, batches[0].positions / expected.sqrt()[:, None, None])
    torch.testing.assert_close(norm.variance, expected)


def test_running_average_forgets():
    norm = MixtureNorm(3, momentum=0.5).double()
    first, second = random_mixture(2, 3, 7), random_mixture(2, 3, 7, seed=1)
    norm(first)
    for _ in range(40):
        norm(second)
    torch.testing.assert_close(norm.variance, mean_variance(second, (0, 2), True))


def test_weighted_average_ignores_what_does_not_exist():
    """Components of weight zero and the way a component is split do not change the scale."""
    mixture = random_mixture(2, 3, 7)
    empty = random_mixture(2, 3, 4, seed=5)
    empty = empty._replace(weights=0 * empty.weights)
    padded = Mixture(*(torch.cat(pair, 2) for pair in zip(mixture, empty, strict=True)))
    halves = Mixture(torch.cat((mixture.weights / 2,) * 2, 2), *(torch.cat((t, t), 2) for t in mixture[1:]))
    norm = MixtureNorm(3, mode="instance")
    for other in (padded, halves):
        torch.testing.assert_close(norm(other).positions[:, :, :7], norm(mixture).positions)


@MODES
def test_channel_of_zeros(mode):
    mixture = random_mixture(2, 3, 7)
    mixture.weights[:, 1] = 0
    leaves = mixture.map(lambda tensor: tensor.requires_grad_())
    normed = MixtureNorm(3, mode=mode).double()(leaves)
    gradients = torch.autograd.grad(sum(tensor.sum() for tensor in normed), list(leaves))
    assert all(tensor.isfinite().all() for tensor in (*normed, *gradients))


@DIMS
def test_mean_activation(dim):
    """A Gaussian's own density, averaged over it, is (4 pi)^(-D/2) for a unit covariance."""
    one = Mixture(torch.ones(1), torch.zeros(1, dim), torch.eye(dim)[None]).to(torch.float64)
    assert mean_activation(one).item() == pytest.approx((4 * torch.pi) ** (-dim / 2))


def test_mean_activation_on_a_grid():
    mixture = random_mixture(2, 5, dim=2)
    axis = torch.arange(-12, 12, 0.1, dtype=torch.float64)
    values = ops.evaluate(mixture, torch.cartesian_prod(axis, axis))
    expected = values.square().sum(-1) / values.sum(-1)
    torch.testing.assert_close(mean_activation(mixture), expected)


def test_rescale():
    mixture = random_mixture(2, 5)
    scaled = rescale(mixture, torch.tensor([2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(scaled.positions[1], 3 * mixture.positions[1])
    torch.testing.assert_close(scaled.covariances[1], 9 * mixture.covariances[1])
    assert scaled.weights is mixture.weights


def test_bad_input():
    with pytest.raises(InputError, match=r"\[2, 4, 7\]; expected \[B, 3, N\]"):
        MixtureNorm(3)(random_mixture(2, 4, 7))
    with pytest.raises(InputError, match="batch, instance, running"):
        MixtureNorm(3, mode="layer")
    with pytest.raises(InputError, match="an empty batch has no average"):
        MixtureNorm(4)(random_mixture(0, 4, 7))
