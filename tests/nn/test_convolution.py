"""The convolution's parameters: initial kernels, equation (9), weight decay."""

from __future__ import annotations

import pytest
import torch

from gmcn.errors import InputError
from gmcn.nn import GaussianConvolution

from .workload import random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])


def seeded(*arguments, seed=0, **options):
    return GaussianConvolution(*arguments, generator=torch.Generator().manual_seed(seed), **options)


@DIMS
def test_shapes(dim):
    layer = seeded(3, 4, dim=dim).double()
    assert layer(random_mixture(2, 3, 7, dim=dim)).covariances.shape == (2, 4, 7 * 3 * 5, dim, dim)
    assert sum(p.numel() for p in layer.parameters()) == 4 * 3 * 5 * {2: 7, 3: 13}[dim]


@DIMS
def test_initial_kernels(dim):
    """Section 5: weights of mean 0.1 and variance 1, components 2.5 units away, one at the origin."""
    kernels = seeded(30, 40, dim=dim).kernels()
    assert kernels.weights.mean().item() == pytest.approx(0.1, abs=0.05)
    assert kernels.weights.std().item() == pytest.approx(1.0, abs=0.05)
    distances = kernels.positions.norm(dim=-1)
    assert (distances[..., 0] == 0).all()
    torch.testing.assert_close(distances[..., 1:], torch.full_like(distances[..., 1:], 2.5))
    covariances = kernels.covariances
    assert covariances.diagonal(dim1=-2, dim2=-1).mean().item() == pytest.approx(0.73, abs=0.01)
    assert (covariances - 0.73 * torch.eye(dim)).abs().max() < 0.15


def test_initial_positions_in_2d_lie_on_the_axes():
    positions = seeded(2, 3, dim=2).kernels().positions
    axes = torch.tensor([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]]) * 2.5
    torch.testing.assert_close(positions, axes.expand(3, 2, 5, 2))


def test_initial_positions_in_3d_differ():
    positions = seeded(2, 3).kernels().positions[:, :, 1:].flatten(0, 2)
    distances = torch.cdist(positions, positions) + 10 * torch.eye(len(positions))
    assert distances.min() > 1e-2
    assert positions.mean(0).norm() < 1.5


def test_one_kernel_component():
    assert (seeded(2, 3, kernel_components=1, dim=2).kernels().positions == 0).all()


def test_seed():
    one, same, other = (seeded(2, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)


@DIMS
@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 100.0])
def test_covariances_stay_positive_definite(dim, size):
    """Also of a factor without rank; the ratio of axes is bounded."""
    layer = seeded(2, 3, dim=dim)
    with torch.no_grad():
        layer.covariance_factors[:] = 0
        layer.covariance_factors[..., 0, :] = size
    eigenvalues = torch.linalg.eigvalsh(layer.kernels().covariances.double())
    assert eigenvalues.min() > 0
    assert (eigenvalues[..., -1] / eigenvalues[..., 0]).max() < 1.01 * (dim / 0.05 + 1)


def test_epsilon_scope():
    """One wide component widens the others only with the scope of the layer."""
    for scope, changes in (("component", False), ("layer", True)):
        layer = seeded(2, 3, epsilon_scope=scope)
        before = layer.kernels().covariances[0, 0, 0].clone()
        with torch.no_grad():
            layer.covariance_factors[2, 1, 3] *= 10
        assert torch.equal(before, layer.kernels().covariances[0, 0, 0]) is not changes


@DIMS
def test_decay_is_a_gradient_step(dim):
    layer = seeded(3, 4, dim=dim).double()
    gradients = torch.autograd.grad(layer.decay_loss(), list(layer.parameters()), allow_unused=True)
    expected = [
        parameter.detach() - (0 if gradient is None else 0.01 * gradient)
        for parameter, gradient in zip(layer.parameters(), gradients, strict=True)
    ]
    layer.decay_(0.01)
    for parameter, value in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_decay_ends_at_the_offset_and_the_identity():
    layer = seeded(2, 3)
    for _ in range(200):
        layer.decay_(3.0)
    kernels = layer.kernels()
    torch.testing.assert_close(kernels.weights, torch.full_like(kernels.weights, 0.1))
    # (I + 0.05 I) (2.5 / 3)²
    torch.testing.assert_close(kernels.covariances, 0.7292 * torch.eye(3).expand(3, 2, 5, 3, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 4}, "dim is 4"),
        ({"kernel_components": 0}, "kernel_components 0"),
        ({"radius": 0.0}, "radius 0.0"),
        ({"epsilon_scope": "network"}, "unknown epsilon_scope 'network'.*component, layer"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(InputError, match=words):
        GaussianConvolution(2, 3, **options)
