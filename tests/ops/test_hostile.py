"""Numbers and sizes that no mixture should have: a result or one sentence, and neighbours that notice nothing."""

from __future__ import annotations

import math

import pytest
import torch

from gmcn import Mixture
from gmcn.fitting import fit_points
from tests import damage

from .compiled import compiled
from .workload import random_mixture

KERNELS = random_mixture((3, 2), 5, 3, seed=7, positive=True).to(torch.float32)

SIGNED = random_mixture((3, 2), 5, 3, seed=7).to(torch.float32)


def channels(mixture: Mixture) -> Mixture:  # [B, N] -> [B, 2, N]
    return mixture.map(lambda tensor: torch.stack((tensor, tensor), 1))


def convolve_reduce(mixture: Mixture) -> Mixture:
    data = channels(mixture)
    weights = compiled.convolve(data, KERNELS).weights.detach()
    return compiled.convolve_reduce_treehem(weights, data, KERNELS, 8)


# Of mixtures [B, N] in 3D, N = 33: no multiple of what the kernels work on at once.
OPERATIONS = {
    "evaluate": lambda mixture: compiled.evaluate(mixture, mixture.positions),
    "evaluate cutoff": lambda mixture: compiled.evaluate(mixture, mixture.positions, cutoff=0.01),
    "relu_fit": lambda mixture: compiled.relu_fit(mixture),
    "relu_fit cutoff": lambda mixture: compiled.relu_fit(mixture, cutoff=0.01),
    "reduce_treehem": lambda mixture: compiled.reduce_treehem(mixture, 8),
    "reduce_treehem t": lambda mixture: compiled.reduce_treehem(mixture, 8, 8),
    "convolve_fit": lambda mixture: compiled.convolve_fit(channels(mixture), KERNELS, 8),
    "convolve_relu_fit": lambda mixture: compiled.convolve_relu_fit(channels(mixture), KERNELS),
    "convolve_relu_nodes": lambda mixture: compiled.convolve_relu_nodes(channels(mixture), KERNELS, 8),
    "convolve_relu_nodes signs": lambda mixture: compiled.convolve_relu_nodes(channels(mixture), SIGNED, 8),
    "convolve_reduce_treehem": convolve_reduce,
}
REFUSALS = (ValueError, RuntimeError)
VALUES = [math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, 0.0, -1.0]
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def outcome(operation, mixture: Mixture) -> list[torch.Tensor] | None:
    """The result, forward and backward, by mixture [B, ...]; None where it is refused in one line."""
    mixture = mixture.map(lambda tensor: tensor.clone().requires_grad_())

    def differentiated() -> list[torch.Tensor]:
        result = operation(mixture)
        outputs = [result] if isinstance(result, torch.Tensor) else list(result)
        sum(output.sum() for output in outputs).backward()
        gradients = [tensor.grad for tensor in mixture if tensor.grad is not None]
        return [*(output.detach() for output in outputs), *gradients]

    return damage.outcome(differentiated, errors=REFUSALS)[0]


@every_operation
@pytest.mark.parametrize("field", Mixture._fields)
@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("all_components", [False, True], ids=["one", "all"])
def test_bad_numbers_stay_in_their_mixture(operation, field, value, all_components):
    good = random_mixture((3,), 33, 3, positive=True).to(torch.float32)
    bad = good.map(torch.clone)
    getattr(bad, field)[1, slice(None) if all_components else 7] = value
    expected, found = outcome(operation, good), outcome(operation, bad)
    if found is None:  # the whole call is refused, as negative weights are
        return
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one[::2], other[::2])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("covariance", [[0, 0, 0], [1, 1, 0], [1, -1, 1], [-1, -1, -1], [1e-38, 1, 1e38]], ids=str)
def test_covariances_that_are_none(name, covariance):
    """Refused or no number, and never a finite value that means nothing."""
    good = random_mixture((2,), 33, 3, positive=True).to(torch.float32)
    bad = good.map(torch.clone)
    bad.covariances[1, ::3] = torch.diag(torch.tensor(covariance, dtype=torch.float32))
    expected, found = outcome(OPERATIONS[name], good), outcome(OPERATIONS[name], bad)
    if found is None:
        return
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one[0], other[0])
    # A convolution adds the kernels' covariances; its fit takes moments of any.
    least = min(covariance)
    if name != "convolve_fit" and least <= 0 and not (name.startswith("convolve") and least == 0):
        assert not all(tensor[1].isfinite().all() for tensor in found)


@every_operation
@pytest.mark.parametrize("shape", [(0, 33), (2, 0), (0, 0), (2, 1)], ids=str)
def test_no_mixtures_and_no_components(operation, shape):
    found = outcome(operation, random_mixture(shape[:1], shape[1], 3, positive=True).to(torch.float32))
    assert found is None or found[0].shape[0] == shape[0]


@pytest.mark.parametrize("count", [0, -1, 2**31, 2**63 - 1], ids=str)
def test_counts_that_no_memory_has(count):
    mixture = random_mixture((2,), 33, 3, positive=True)
    for call in (
        lambda: compiled.reduce_treehem(mixture, 8, count),
        lambda: compiled.reduce_treehem(mixture, count),
        lambda: compiled.convolve_fit(channels(mixture), KERNELS.to(torch.float64), count),
        lambda: compiled.convolve_relu_nodes(channels(mixture), KERNELS.to(torch.float64), count),
    ):
        result, _ = damage.outcome(call, errors=REFUSALS)
        assert result is None or result.components <= 2 * 33 * 5


@pytest.mark.parametrize("method", ["kmeans", "kmeans_em", "random_em", "fps", "eckart"])
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_bad_points_stay_in_their_shape(method, value):
    n = 5 if method == "eckart" else 4
    points = torch.randn(3, 40, 3, generator=torch.Generator().manual_seed(0))
    expected = fit_points(points, n, method)
    points[1, 7:9] = value
    found, _ = damage.outcome(fit_points, points, n, method, errors=REFUSALS)
    if found is None:
        return
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one[::2], other[::2])
