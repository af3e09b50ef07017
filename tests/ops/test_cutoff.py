"""Leaving out far pairs: what it may change, and what it must not."""

from __future__ import annotations

import pytest
import torch

from gmcn import Mixture

from . import checks
from .compiled import compiled
from .workload import random_mixture, random_points

CUTOFF = 1e-7
DIMS = pytest.mark.parametrize("dim", [2, 3])


def wide(dim, components=700, seed=0):
    """Thin components over a large space, so that most pairs are far."""
    return random_mixture((2,), components, dim, seed=seed, spread=8.0, smallest=0.02)


def evaluate(cutoff):
    return lambda ops, mixture, points: ops.evaluate(mixture, points, cutoff=cutoff)


def fit(cutoff):
    return lambda ops, mixture: ops.relu_fit(mixture, offset=0.1, cutoff=cutoff).weights


def convolve_fit(cutoff):
    return lambda ops, data, kernels: ops.convolve_relu_fit(data, kernels, cutoff=cutoff)


def cases(dim):
    data = random_mixture((2, 3), 20, dim, spread=6.0, smallest=0.02)
    return [
        (evaluate, (wide(dim), 3 * random_points((2,), 1100, dim))),
        (fit, (wide(dim),)),
        (convolve_fit, (data, random_mixture((2, 3), 5, dim, spread=2.0, smallest=0.02))),
    ]


@DIMS
@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_stay_within_the_cutoff(dim, case, dtype):
    operation, inputs = cases(dim)[case]
    exact = checks.run(operation(0.0), compiled, inputs, dtype)
    close = checks.run(operation(CUTOFF), compiled, inputs, dtype)
    # Each component may lose its cutoff at each point; slopes there are up to |t| = 5.7 times as large.
    assert max(checks.errors(close, [tensor.double() for tensor in exact])) < 100 * CUTOFF


@pytest.mark.parametrize("components", [1, 64, 65, 1025, 2100])
def test_any_size(components):
    mixture = wide(3, components)
    points = 3 * random_points((2,), 130, 3)
    torch.testing.assert_close(
        compiled.evaluate(mixture, points, cutoff=CUTOFF), compiled.evaluate(mixture, points), rtol=0, atol=1e-4
    )


def test_it_leaves_something_out():
    """Two clusters, far apart: a coarse cutoff drops the other cluster's tail and nothing of one's own."""
    mixture = Mixture(torch.ones(1, 2), torch.tensor([[[0.0, 0, 0], [4, 0, 0]]]), torch.eye(3).expand(1, 2, 3, 3))
    points = torch.zeros(1, 1, 3)
    alone = compiled.evaluate(mixture.map(lambda tensor: tensor[:, :1]), points)
    assert torch.equal(compiled.evaluate(mixture, points, cutoff=0.01), alone)
    assert (compiled.evaluate(mixture, points, cutoff=1e-6) > alone).all()


def test_not_a_number_is_not_left_out():
    mixture = wide(3, 100).map(lambda tensor: tensor.float())
    mixture.weights[0, 3] = float("nan")
    assert compiled.evaluate(mixture, mixture.positions, cutoff=CUTOFF)[0].isnan().any()


def test_deterministic():
    checks.assert_deterministic(fit(CUTOFF), (wide(3),))
    checks.assert_deterministic(evaluate(CUTOFF), (wide(3), 3 * random_points((2,), 1100, 3)))


@pytest.mark.parametrize("cutoff", [-0.1, 1.0, float("nan")])
def test_a_cutoff_lies_between_zero_and_one(cutoff):
    with pytest.raises(ValueError, match="cutoff"):
        compiled.relu_fit(wide(3, 2), cutoff=cutoff)
