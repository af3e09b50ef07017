"""The CUDA kernels of evaluate and relu_fit, run on the CPU, beside the CPU's own."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops  # noqa: F401  registers the operations
from gmcn.results.allocations import peak_of_allocations
from tests.ops.workload import random_mixture, random_points

DIMS = pytest.mark.parametrize("dim", [2, 3])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
SIZES = pytest.mark.parametrize("size", [(1, 1), (31, 33), (128, 129), (257, 1000), (3, 600)])
FITS = pytest.mark.parametrize("options", [(0.0, 0.0, 0.0), (0.1, 0.05, 0.05)], ids=["paper", "authors"])
cpu = torch.ops.gmcn


def close(actual, expected):
    """Relative to the largest magnitude of each tensor."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        eps = torch.finfo(other.dtype).eps
        scale = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=0, atol=200 * eps * scale, equal_nan=True)


def mixture(dim, components, dtype, batch=2):
    return random_mixture((batch,), components, dim, seed=components).to(dtype)


@DIMS
@DTYPES
@SIZES
def test_evaluate(emulated, dim, dtype, size):
    values = mixture(dim, size[0], dtype)
    points = random_points((2,), size[1], dim).to(dtype)
    close([emulated.evaluate(*values, points, 0.0)], [cpu.evaluate(*values, points, 0.0)])
    gradient = torch.randn(2, size[1], generator=torch.Generator().manual_seed(0), dtype=dtype)
    for wanted in (True, False):
        arguments = (gradient, *values, points, 0.0, wanted)
        close(emulated.evaluate_backward(*arguments), cpu.evaluate_backward(*arguments))


def test_many_mixtures_take_several_points_per_thread(emulated):
    values = mixture(3, 2, torch.float32, batch=1030)
    points = random_points((1030,), 5, 3).float()
    close([emulated.evaluate(*values, points, 0.0)], [cpu.evaluate(*values, points, 0.0)])
    arguments = (torch.ones(1030, 5), *values, points, 0.0, True)
    close(emulated.evaluate_backward(*arguments), cpu.evaluate_backward(*arguments))


@DIMS
@DTYPES
@FITS
@pytest.mark.parametrize("components", [1, 31, 257, 600])
def test_relu_fit(emulated, dim, dtype, options, components):
    values = mixture(dim, components, dtype)
    forward = cpu.relu_fit(*values, *options, 0.0)
    close(emulated.relu_fit(*values, *options, 0.0), forward)
    gradient = torch.randn(2, components, generator=torch.Generator().manual_seed(0), dtype=dtype)
    arguments = (gradient, *values, *forward[1:], *options, 0.0)
    close(emulated.relu_fit_backward(*arguments), cpu.relu_fit_backward(*arguments))


@DIMS
@DTYPES
@FITS
def test_convolve_relu_fit(emulated, dim, dtype, options):
    data = random_mixture((3, 2), 6, dim, seed=1).to(dtype)
    kernels = random_mixture((4, 2), 5, dim, seed=2).to(dtype)
    forward = cpu.convolve_relu_fit(*data, *kernels, *options, 0.0)
    close(emulated.convolve_relu_fit(*data, *kernels, *options, 0.0), forward)
    gradient = torch.randn(3, 4, 60, generator=torch.Generator().manual_seed(0), dtype=dtype)
    arguments = (gradient, *data, *kernels, *forward[1:], *options, 0.0)
    close(emulated.convolve_relu_fit_backward(*arguments), cpu.convolve_relu_fit_backward(*arguments))


@DIMS
@DTYPES
def test_convolve_reduce_treehem(emulated, dim, dtype):
    data = random_mixture((2, 2), 6, dim, seed=1).to(dtype)
    kernels = random_mixture((3, 2), 5, dim, seed=2).to(dtype)
    weights = torch.rand(2, 3, 60, generator=torch.Generator().manual_seed(0), dtype=dtype)
    arguments = (weights, *data[1:], *kernels[1:], 9, 2, 0.5, 4.0)
    reduced = cpu.convolve_reduce_treehem(*arguments)
    close(emulated.convolve_reduce_treehem(*arguments), reduced)
    arguments = (*map(torch.ones_like, reduced), *arguments)
    close(emulated.convolve_reduce_treehem_backward(*arguments), cpu.convolve_reduce_treehem_backward(*arguments))


def test_a_part_of_the_batch_at_a_time(emulated):
    """So that a megabyte of working space is enough; the reduction's own is another."""
    data, kernels = random_mixture((50, 2), 6, 3, seed=1), random_mixture((4, 2), 5, 3, seed=2)
    megabyte = 2**20

    def run(name, arguments):
        """Results, and the working space beside them."""
        found = []
        peak = peak_of_allocations(lambda: found.extend(getattr(emulated, name)(*arguments)))
        return found, peak - sum(tensor.nbytes for tensor in found)

    options = (0.1, 0.05, 0.05, 0.0)
    forward = weights, *kept = cpu.convolve_relu_fit(*data, *kernels, *options)
    found, space = run("convolve_relu_fit", (*data, *kernels, *options))
    assert space < megabyte
    close(found, forward)
    arguments = (torch.ones_like(weights), *data, *kernels, *kept, *options)
    found, space = run("convolve_relu_fit_backward", arguments)
    assert space < megabyte
    close(found, cpu.convolve_relu_fit_backward(*arguments))

    arguments = (weights, *data[1:], *kernels[1:], 9, 2, 0.5, 4.0)
    arguments = (*map(torch.ones_like, cpu.convolve_reduce_treehem(*arguments)), *arguments)
    found, space = run("convolve_reduce_treehem_backward", arguments)
    assert space < 2 * megabyte
    # Not beside the CPU's: distances within a convolution repeat, and rounding breaks the ties.
    halves = [
        emulated.convolve_reduce_treehem_backward(*(some[half] for some in arguments[:6]), *arguments[6:])
        for half in (slice(25), slice(25, 50))
    ]
    whole = [*map(torch.cat, zip(*(half[:3] for half in halves), strict=True))]
    assert all(map(torch.equal, found[:3], whole))
    close(found[3:], [*map(sum, zip(*(half[3:] for half in halves), strict=True))])


def test_a_mixture_without_positive_weights(emulated):
    values = mixture(3, 40, torch.float32)
    values = values._replace(weights=-values.weights.abs())
    forward = emulated.relu_fit(*values, 0.0, 0.0, 0.0, 0.0)
    assert all((tensor == 0).all() for tensor in forward)
    gradients = emulated.relu_fit_backward(torch.ones(2, 40), *values, *forward[1:], 0.0, 0.0, 0.0, 0.0)
    assert all((tensor == 0).all() for tensor in gradients)


@pytest.mark.parametrize(("batch", "components", "points"), [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_to_do(emulated, batch, components, points):
    values = mixture(3, components, torch.float32, batch)
    x = torch.zeros(batch, points, 3)
    close([emulated.evaluate(*values, x, 0.0)], [cpu.evaluate(*values, x, 0.0)])
    arguments = (torch.ones(batch, points), *values, x, 0.0, True)
    close(emulated.evaluate_backward(*arguments), cpu.evaluate_backward(*arguments))
    close(emulated.relu_fit(*values, 0.0, 0.0, 0.0, 0.0), cpu.relu_fit(*values, 0.0, 0.0, 0.0, 0.0))


def test_a_bad_covariance_makes_its_mixture_not_a_number(emulated):
    values = mixture(3, 10, torch.float32)
    values.covariances[0, 4] *= -1
    result = emulated.evaluate(*values, values.positions, 0.0)
    assert result[0].isnan().all()
    assert result[1].isfinite().all()
    fitted = emulated.relu_fit(*values, 0.1, 0.0, 0.0, 0.0)[0]
    assert fitted[0].isnan().all()
    assert fitted[1].isfinite().all()
