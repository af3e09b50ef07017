"""Tests that need a GPU. The other tests of the operations run there with GMCN_TEST_DEVICE=cuda."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import gmcn.ops
from gmcn.build_info import has_cuda_kernels

from . import checks
from .workload import random_mixture

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and has_cuda_kernels()), reason="needs a GPU and kernels that were built for it"
)


def evaluate(mixture):
    return gmcn.ops.evaluate(mixture, mixture.positions)


def relu_fit(mixture):
    return gmcn.ops.relu_fit(mixture).weights


def reduce_treehem(mixture):
    return gmcn.ops.reduce_treehem(mixture, 32)


def factors(mixture):
    """Of a convolution with one input channel, and kernels of both signs."""
    kernels = random_mixture((3, 1), 4, 3, seed=7).to(mixture.weights.device, mixture.weights.dtype)
    return mixture.map(lambda tensor: tensor[:, None]), kernels


def convolve_fit(mixture):
    return gmcn.ops.convolve_fit(*factors(mixture), 32)


def convolve_relu_fit(mixture):
    return gmcn.ops.convolve_relu_fit(*factors(mixture))


def convolve_relu_nodes(mixture):
    return gmcn.ops.convolve_relu_nodes(*factors(mixture), 150)


def convolve_reduce_treehem(mixture):
    return gmcn.ops.convolve_reduce_treehem(mixture.weights[:, None].repeat(1, 3, 4), *factors(mixture), 32)


def layer_moments(mixture):
    """Of an object for each mixture; what comes out has the batch first."""
    weights, positions, covariances = mixture
    sizes = weights.new_ones(mixture.components)
    value, reach = gmcn.ops.layer_moments(
        weights.mT, covariances[..., 0, 0].mT, positions.permute(1, 2, 0), sizes, "relu"
    )
    return value.mT, reach.permute(2, 0, 1)


def tree_log_prob(mixture):
    """Of two levels; any matrices are whiteners."""
    n = mixture.components
    first = n // 3 if n % 3 == 0 else n // 5
    weights, positions, covariances = mixture
    return gmcn.ops.tree_log_prob(positions, weights, positions, covariances, (first, n - first))


OPERATIONS = pytest.mark.parametrize(
    "operation",
    [
        evaluate,
        relu_fit,
        reduce_treehem,
        convolve_fit,
        convolve_relu_fit,
        convolve_relu_nodes,
        convolve_reduce_treehem,
        layer_moments,
        tree_log_prob,
    ],
)
OF_POSITIVE = (reduce_treehem, convolve_relu_nodes, convolve_reduce_treehem)


def leaves_of(mixture, device="cuda"):
    return mixture.map(lambda tensor: tensor.detach().to(device).requires_grad_())


def results(operation, mixture):
    """Values and gradients of their sum of squares, on the CPU in float64."""
    leaves = leaves_of(mixture, mixture.weights.device)
    outputs = checks._tensors(operation(leaves))
    gradients = torch.autograd.grad(sum(output.square().sum() for output in outputs), list(leaves), allow_unused=True)
    return [tensor.detach().cpu().double() for tensor in (*outputs, *(g for g in gradients if g is not None))]


@pytest.mark.parametrize(("components", "dtype"), [(2200, "float32"), (1860, "float64")])
def test_just_below_what_a_block_may_share_without_asking(components, dtype):
    """In a process of its own: once a larger mixture has asked, the permission stays."""
    code = (
        "import torch, gmcn; from tests.ops.workload import random_mixture; "
        f"m = random_mixture((2,), {components}, 3, positive=True).to('cuda', torch.{dtype}); "
        "assert gmcn.ops.reduce_treehem(m, 32).weights.isfinite().all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@OPERATIONS
@pytest.mark.parametrize("components", [640, 2560])
def test_as_on_the_cpu_at_the_sizes_of_the_network(operation, components):
    """In float64, where both make the same decisions."""
    mixture = random_mixture((3,), components, 3, positive=operation in OF_POSITIVE, spread=3.0)
    for ours, theirs in zip(results(operation, mixture.to("cuda")), results(operation, mixture), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()))


@OPERATIONS
def test_repeats_bit_for_bit(operation):
    mixture = random_mixture((40,), 700, 3, positive=True).to("cuda", torch.float32)
    first = results(operation, mixture)
    for _ in range(5):
        assert all(torch.equal(one, other) for one, other in zip(first, results(operation, mixture), strict=True))


@OPERATIONS
def test_on_the_current_stream(operation):
    """Inputs that another stream is still writing: only work on that stream may see them."""
    mixture = random_mixture((8,), 640, 3, positive=True).to("cuda", torch.float32)
    expected = [tensor.clone() for tensor in checks._tensors(operation(mixture))]
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        late = mixture.map(torch.zeros_like)
        late.covariances.copy_(torch.eye(3, device="cuda").expand_as(late.covariances))
        torch.cuda._sleep(200_000_000)  # cycles: about a tenth of a second
        for target, source in zip(late, mixture, strict=True):
            target.copy_(source)
        outputs = checks._tensors(operation(late))
    stream.synchronize()
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other, rtol=0, atol=0)


@OPERATIONS
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_on_a_gpu_that_is_not_the_current_one(operation):
    mixture = random_mixture((4,), 100, 3, positive=True).to(torch.float32)
    first, second = (results(operation, mixture.to(f"cuda:{place}")) for place in (0, 1))
    assert torch.cuda.current_device() == 0
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


@OPERATIONS
def test_strides_do_not_matter(operation):
    mixture = random_mixture((4,), 100, 3, positive=True).to("cuda", torch.float32)
    strided = mixture.map(lambda tensor: torch.stack((tensor, torch.full_like(tensor, float("nan"))), -1)[..., 0])
    for one, other in zip(results(operation, mixture), results(operation, strided), strict=True):
        assert torch.equal(one, other)


@OPERATIONS
@pytest.mark.parametrize("field", ["covariances", "positions"])
def test_bad_numbers_become_nan_in_their_mixture_alone(operation, field):
    """No exception: asking the GPU would wait for it."""
    mixture = random_mixture((3,), 100, 3, positive=True).to("cuda", torch.float32)
    getattr(mixture, field)[1, 7] = float("nan")
    outputs = checks._tensors(operation(mixture))
    # The weights that convolve_fit adds up stay numbers.
    assert any(output[1].isnan().any() for output in (outputs if operation is convolve_fit else outputs[:1]))
    for output in outputs:
        assert output[::2].isfinite().all()


@OPERATIONS
@pytest.mark.parametrize("shape", [(0, 33), (70000, 33)])
def test_no_and_many_mixtures(operation, shape):
    """More than a grid has blocks in its second and third dimension."""
    mixture = random_mixture((2,), shape[1], 3, positive=True).to("cuda", torch.float32)
    few = checks._tensors(operation(mixture))
    many = checks._tensors(operation(mixture.map(lambda t: t[:1].expand(shape[0], *t.shape[1:]).contiguous())))
    for one, other in zip(few, many, strict=True):
        assert other.shape[0] == shape[0]
        assert torch.equal(other, one[:1].expand_as(other))
