"""The CUDA kernels of reduce_treehem and convolve_fit, run on the CPU, beside the CPU's own and their twins."""

from __future__ import annotations

import pytest
import torch

import gmcn.ops
from gmcn import Mixture
from tests.csrc.cases import everywhere
from tests.ops import checks
from tests.ops.workload import moments, random_mixture

DIMS = pytest.mark.parametrize("dim", [2, 3])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, operations, name, options, *tensors):
        ctx.backward_operation, ctx.options = getattr(operations, f"{name}_backward"), options
        ctx.save_for_backward(*tensors)
        return getattr(operations, name)(*tensors, *options)

    @staticmethod
    def backward(ctx, *gradients):
        return None, None, None, *ctx.backward_operation(*gradients, *ctx.saved_tensors, *ctx.options)


class _Ops:
    """The emulated operations as ``gmcn.ops`` has them."""

    def __init__(self, operations):
        self.operations = operations

    def reduce_treehem(self, mixture, n, t=2):
        return Mixture(*_Differentiable.apply(self.operations, "reduce_treehem", (n, t, 0.5, 4.0), *mixture))

    def convolve_fit(self, data, kernels, n):
        return Mixture(*_Differentiable.apply(self.operations, "convolve_fit", (n,), *data, *kernels))


@pytest.fixture(scope="session")
def ops(emulated):
    return _Ops(emulated)


def reduce_to(n, t=2):
    return lambda module, mixture: module.reduce_treehem(mixture, n, t)


def fit_to(n):
    return lambda module, data, kernels: module.convolve_fit(data, kernels, n)


def convolved(dim, batch=2, channels=3, components=7, outputs=4, kernel_components=5):
    data = random_mixture((batch, channels), components, dim, seed=1)
    return data, random_mixture((outputs, channels), kernel_components, dim, seed=2)


def assert_as_on_the_cpu(operation, ops, inputs, dtype):
    """Values and gradients. The same tree and the same selection: what remains is rounding."""
    actual, expected = (checks.run(operation, module, inputs, dtype) for module in (ops, gmcn.ops))
    deviations = checks.errors(actual, [tensor.double() for tensor in expected])
    assert max(deviations) <= 200 * torch.finfo(dtype).eps, deviations


def assert_budget(operation, ops, inputs):
    """In float32 at most twice the error of the plain-torch twin, both against float64."""
    exact = checks.run(operation, gmcn.ops.reference, inputs)
    naive = checks.errors(checks.run(operation, gmcn.ops.reference, inputs, torch.float32), exact)
    ours = checks.errors(checks.run(operation, ops, inputs, torch.float32), exact)
    floor = 4 * torch.finfo(torch.float32).eps
    assert all(mine <= 2 * theirs + floor for mine, theirs in zip(ours, naive, strict=True)), (ours, naive)
    assert max(checks.errors(checks.run(operation, ops, inputs), exact)) < 1e-9


REDUCTIONS = [
    (2, 1, 2),
    (3, 1, 1),
    (3, 2, 2),
    (31, 8, 2),
    (64, 63, 2),
    (65, 2, 8),
    (257, 100, 1),
    (257, 32, 4),
    (257, 100, 8),
    (257, 3, 8),  # fewer than a node keeps
    (1000, 32, 2),
    (1100, 1099, 2),  # a list of more than 32 x 32
    (2560, 32, 2),
    (4500, 64, 2),  # too large for shared memory
]


@everywhere(("components", "n", "t"), REDUCTIONS, large=[(1100, 1099, 2)])
def test_reduce_treehem(ops, dim, dtype, components, n, t):
    assert_as_on_the_cpu(reduce_to(n, t), ops, [random_mixture((2,), components, dim, positive=True)], dtype)


@DIMS
@pytest.mark.parametrize(("components", "n", "t"), [(7, 3, 2), (33, 8, 1), (33, 16, 4), (100, 32, 2)])
def test_reduce_treehem_budget(ops, dim, components, n, t):
    assert_budget(reduce_to(n, t), ops, [random_mixture((2,), components, dim, positive=True)])


@DTYPES
def test_equal_weights_and_centres(ops, dtype):
    """All masses tie, and all codes. At zero, where no rounding can tell one centre from another."""
    mixture = random_mixture((2,), 64, 3, positive=True)
    assert_as_on_the_cpu(reduce_to(9), ops, [mixture._replace(positions=torch.zeros_like(mixture.positions))], dtype)
    mixture = mixture._replace(weights=torch.ones_like(mixture.weights))
    assert_as_on_the_cpu(reduce_to(9), ops, [mixture], dtype)
    assert_as_on_the_cpu(reduce_to(9, 1), ops, [mixture], dtype)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 7, 40])
def test_few_components_of_any_weight(ops, kept):
    """Those without weight are dropped in the nodes; what is missing is padding."""
    mixture = random_mixture((2,), 300, 3, positive=True)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    mixture.weights[:, order[kept:]] = 0
    assert_as_on_the_cpu(reduce_to(100), ops, [mixture], torch.float64)
    reduced = ops.reduce_treehem(mixture, 100)
    for before, after in zip(moments(mixture), moments(reduced), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_heavy_tails(ops):
    """A deep tree, and likelihoods at their clamps."""
    mixture = random_mixture((2,), 500, 3, positive=True, smallest=1e-4, largest=10.0)
    mixture.weights.pow_(6)
    mixture.positions.mul_(2.0 ** -torch.arange(500)[:, None].fmod(10))
    assert_as_on_the_cpu(reduce_to(64), ops, [mixture], torch.float64)


@DTYPES
@pytest.mark.parametrize("bad", ["weight", "covariance", "position", "scale"])
def test_what_the_cpu_refuses_is_not_a_number_in_its_mixture_alone(ops, dtype, bad):
    mixture = random_mixture((3,), 40, 3, positive=True)
    if bad == "weight":
        mixture.weights[1, 7] = -1.0
    elif bad == "covariance":
        mixture.covariances[1, 39] *= -0.01
    elif bad == "position":
        mixture.positions[1, 0, 2] = float("inf")
    else:
        mixture.covariances[1] *= 0
    leaves = mixture.map(lambda tensor: tensor.to(dtype).requires_grad_())
    with pytest.raises(RuntimeError, match="mixture 1"):
        gmcn.ops.reduce_treehem(leaves, 8)
    reduced = ops.reduce_treehem(leaves, 8)
    for tensor in (*reduced, *torch.autograd.grad(sum(tensor.sum() for tensor in reduced), list(leaves))):
        assert tensor[1].isnan().all()
        assert tensor[::2].isfinite().all()


def test_no_mixtures(ops):
    assert [tensor.shape for tensor in checks.run(reduce_to(4), ops, [random_mixture((0,), 9, 3)])] == [
        tensor.shape for tensor in checks.run(reduce_to(4), gmcn.ops, [random_mixture((0,), 9, 3)])
    ]


@pytest.mark.parametrize("components", [700, 4500])
def test_blocks_take_several_mixtures(ops, components):
    """More than there is working space for in a launch."""
    one = random_mixture((1,), components, 3, positive=True)
    many = one.map(lambda tensor: tensor.expand(12, *tensor.shape[1:]).contiguous())
    for few, tensor in zip(ops.reduce_treehem(one, 20), ops.reduce_treehem(many, 20), strict=True):
        assert torch.equal(tensor, few.expand_as(tensor))


CONVOLUTIONS = [  # batch, channels, components, outputs, kernel components; n
    ((2, 3, 1, 4, 5), 2),
    ((2, 3, 7, 4, 5), 2),
    ((2, 3, 7, 4, 5), 17),
    ((2, 3, 7, 4, 5), 104),
    ((2, 3, 7, 4, 5), 120),  # more than there are
    ((5, 9, 33, 3, 5), 64),  # more channels than warps; the backward pass in parts
    ((1, 4, 256, 2, 5), 600),  # too large for shared memory
    ((0, 3, 7, 4, 5), 4),
    ((2, 0, 7, 4, 5), 4),
    ((2, 3, 0, 4, 5), 4),
    ((2, 3, 7, 0, 5), 4),
    ((2, 3, 7, 4, 0), 4),
]


@everywhere(("sizes", "n"), CONVOLUTIONS, large=CONVOLUTIONS[3:7])
def test_convolve_fit(ops, dim, dtype, sizes, n):
    assert_as_on_the_cpu(fit_to(n), ops, convolved(dim, *sizes), dtype)


@DIMS
@pytest.mark.parametrize(("components", "n"), [(1, 2), (7, 16), pytest.param(33, 64, marks=pytest.mark.slow)])
def test_convolve_fit_budget(ops, dim, components, n):
    assert_budget(fit_to(n), ops, convolved(dim, components=components))


def test_groups_tie(ops):
    """Equal weights and centres: the first in the list is split."""
    data, kernels = convolved(3, components=16, kernel_components=8)
    data.weights.fill_(0.5), kernels.weights.fill_(-0.25)
    assert_as_on_the_cpu(fit_to(23), ops, (data, kernels), torch.float32)
    data.positions.fill_(1), kernels.positions.fill_(2)
    assert_as_on_the_cpu(fit_to(23), ops, (data, kernels), torch.float32)


def test_groups_without_mass(ops):
    data, kernels = convolved(3)
    data.weights[:, :, 3:] = 0
    assert_as_on_the_cpu(fit_to(40), ops, (data, kernels), torch.float64)


def test_numbers_that_are_not_stay_in_their_mixture(ops):
    data, kernels = convolved(3)
    data.weights[1, 2, 3] = float("nan")
    fitted = ops.convolve_fit(data, kernels, 16)
    assert fitted.weights[1].isnan().any(-1).all()
    assert fitted.weights[0].isfinite().all()


@pytest.mark.parametrize(
    ("operation", "inputs"),
    [(reduce_to(33), [random_mixture((3,), 700, 3, positive=True)]), (fit_to(24), convolved(3, batch=3))],
    ids=["reduce_treehem", "convolve_fit"],
)
def test_repeats_bit_for_bit(ops, operation, inputs):
    first, second = (checks.run(operation, ops, inputs, torch.float32) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
