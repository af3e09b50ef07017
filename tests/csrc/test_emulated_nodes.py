"""The CUDA kernels of convolve_relu_nodes, run on the CPU, beside the CPU's own."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops  # noqa: F401  registers the operations
from tests.csrc.cases import everywhere
from tests.ops.workload import random_mixture

from .test_emulated_pairs import close

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
cpu = torch.ops.gmcn

SIZES = [  # batch, channels, components, outputs, kernel components; n
    ((2, 3, 1, 4, 5), 2),
    ((2, 3, 7, 4, 5), 17),
    ((2, 3, 7, 4, 5), 104),  # more than there are members
    ((2, 2, 33, 2, 5), 40),  # two nodes per lane
    ((1, 2, 40, 2, 5), 200),  # four, of two warps
    ((5, 9, 33, 3, 5), 64),  # more channels than warps; blocks take several mixtures; the backward pass in parts
    ((1, 4, 420, 1, 5), 600),  # too large for shared memory; two blocks for the nodes of a mixture
    ((0, 3, 7, 4, 5), 4),
    ((2, 0, 7, 4, 5), 4),
    ((2, 3, 0, 4, 5), 4),
    ((2, 3, 7, 0, 5), 4),
    ((2, 3, 7, 4, 0), 4),
]


def convolved(dim=3, dtype=torch.float64, batch=2, channels=3, components=7, outputs=4, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1, positive=True)
    kernels = random_mixture((outputs, channels), kernel_components, dim, seed=2)
    return data.to(dtype), kernels.to(dtype)


def gradients(operations, forward, data, kernels, n):
    """For random gradients of what the user gets of ``forward``."""
    generator = torch.Generator().manual_seed(0)
    upstream = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in forward[:3]]
    return operations.convolve_relu_nodes_backward(*upstream, *data, *kernels, *forward[1:], n)


def assert_as_on_the_cpu(emulated, data, kernels, n):
    """The same groups; what else is kept, results and gradients but for rounding."""
    forward = cpu.convolve_relu_nodes(*data, *kernels, n)
    found = emulated.convolve_relu_nodes(*data, *kernels, n)
    close(found[:6], forward[:6])
    assert torch.equal(found[6], forward[6])
    close(gradients(emulated, forward, data, kernels, n), gradients(cpu, forward, data, kernels, n))
    return forward


@everywhere(("sizes", "n"), SIZES, large=SIZES[4:7])
def test_as_on_the_cpu(emulated, dim, dtype, sizes, n):
    assert_as_on_the_cpu(emulated, *convolved(dim, dtype, *sizes), n)


@DTYPES
def test_members_only(emulated, dtype):
    """Weights of zero, a channel and a kernel without any, a mixture of negative kernels, data without weight."""
    data, kernels = convolved(dtype=dtype, batch=3)
    data.weights[0, :, 2:] = 0
    data.weights[1, 1] = 0
    data.weights[2] = 0
    kernels.weights[0] *= -kernels.weights[0].sign()
    kernels.weights[1, :, 0] = 0
    weights, _, _, mass, *_, group = assert_as_on_the_cpu(emulated, data, kernels, 24)
    assert (weights[:, 0] == 0).all()
    assert (mass[2] == 0).all()
    assert (group[:, 0] == -1).all()


def test_priorities_and_codes_tie(emulated):
    """Equal weights, then equal centres, where the box is flat: the first in the list is split."""
    data, kernels = convolved(components=16, kernel_components=8)
    data.weights.fill_(0.5), kernels.weights.copy_(kernels.weights.sign() / 4)
    data.positions[..., 1] = 1
    kernels.positions[..., 1] = 2
    assert_as_on_the_cpu(emulated, data, kernels, 23)
    data.positions.fill_(1), kernels.positions.fill_(2)
    assert_as_on_the_cpu(emulated, data, kernels, 23)


@DTYPES
@pytest.mark.parametrize("bad", ["weight", "covariance", "scale"])
def test_what_the_cpu_refuses_is_not_a_number_in_its_mixture_alone(emulated, dtype, bad):
    data, kernels = convolved(dtype=dtype, batch=3)
    if bad == "weight":
        data.weights[1, 2, 3] = -1.0
    elif bad == "covariance":
        data.covariances[1, 2, 6] *= -100
    else:
        data.covariances[1] = 0
        kernels.covariances[1] = 0
    with pytest.raises(RuntimeError):
        cpu.convolve_relu_nodes(*data, *kernels, 8)
    forward = emulated.convolve_relu_nodes(*data, *kernels, 8)
    found = gradients(emulated, forward, data, kernels, 8)
    weights = forward[0][1] if bad != "scale" else forward[0][1, 1]
    assert weights.isnan().all()
    for tensor in (*forward[:3], *found[:3]):
        assert tensor[::2].isfinite().all()
    for tensor in found[:3]:
        assert tensor[1].isnan().all()


@DTYPES
@pytest.mark.parametrize("bad", ["data", "kernels", "covariance"])
def test_without_a_node_nothing_that_is_no_number_is_lost(emulated, dtype, bad):
    data, kernels = convolved(dtype=dtype, batch=3)
    kernels.weights[2] = -kernels.weights[2].abs()
    if bad == "data":
        data.weights[1] = float("nan")
    elif bad == "kernels":
        kernels.weights[2] = float("nan")
    else:
        kernels.covariances[2, 1, 4] *= -100
    forward = emulated.convolve_relu_nodes(*data, *kernels, 8)
    lost = torch.zeros(3, 4, dtype=torch.bool)
    lost[1 if bad == "data" else slice(None), slice(None) if bad == "data" else 2] = True
    assert forward[0][lost].isnan().all()
    for tensor in forward[:3]:
        assert tensor[~lost].isfinite().all()
    found = gradients(emulated, forward, data, kernels, 8)
    assert found[0][1].isnan().all()


def test_infinite_and_missing_numbers_stay_in_their_mixture(emulated):
    for value in (float("nan"), float("inf"), -float("inf"), 1e300):
        for field in ("weights", "positions", "covariances"):
            data, kernels = convolved(batch=3, components=4, outputs=2, kernel_components=3)
            getattr(data, field)[1, 2, 3] = abs(value) if field == "weights" else value
            forward = emulated.convolve_relu_nodes(*data, *kernels, 8)
            for tensor in (*forward[:3], *gradients(emulated, forward, data, kernels, 8)[:3]):
                assert tensor[::2].isfinite().all(), (value, field)


def test_repeats_bit_for_bit(emulated):
    data, kernels = convolved(dtype=torch.float32, components=70)
    first, second = (emulated.convolve_relu_nodes(*data, *kernels, 100) for _ in range(2))
    assert all(map(torch.equal, first, second))
    both = (gradients(emulated, first, data, kernels, 100) for _ in range(2))
    assert all(map(torch.equal, *both))
