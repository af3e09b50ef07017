"""What a Gaussian mixture layer computes between its matrix products."""

from __future__ import annotations

import mpmath
import pytest
import torch

import gmcn.ops
from gmcn.errors import InputError
from gmcn.ops.layer_moments import ACTIVATIONS

from . import checks
from .compiled import compiled

ACTIVATION = pytest.mark.parametrize("activation", ACTIVATIONS)
SIZES = pytest.mark.parametrize("size", [(1, 1, 1), (3, 0, 7), (5, 4, 100), (2, 3, 16), (4, 30, 33)], ids=str)


def inputs(components, rank, objects, spread=3.0):
    generator = torch.Generator().manual_seed(components + rank + objects)
    kind = {"generator": generator, "dtype": torch.float64}
    mean = spread * torch.randn(components, objects, **kind)
    variance = torch.rand(components, objects, **kind)
    along = torch.randn(components, rank, objects, **kind)
    return [mean, variance, along, torch.rand(components, **kind)]


def of(activation):
    def operation(ops, *tensors):
        value, reach = ops.layer_moments(*tensors, activation)
        return torch.cat((value.flatten(), reach.flatten()))

    return operation


@ACTIVATION
@SIZES
def test_budget(activation, size):
    checks.assert_budget(of(activation), inputs(*size))


@ACTIVATION
@SIZES
def test_twin(activation, size):
    checks.assert_twins(of(activation), inputs(*size), 1e-12)


@ACTIVATION
def test_gradcheck(ops, activation):
    checks.assert_gradcheck(ops, of(activation), inputs(2, 2, 3))


@ACTIVATION
def test_deterministic(activation):
    checks.assert_deterministic(of(activation), inputs(300, 4, 100))


@ACTIVATION
def test_strides_do_not_matter(activation):
    checks.assert_strides_do_not_matter(of(activation), inputs(3, 2, 20))


@pytest.mark.parametrize("code", range(4))
def test_opcheck(code):
    tensors = inputs(3, 2, 5)
    checks.opcheck("layer_moments", *(tensor.requires_grad_() for tensor in tensors), code)


def test_opcheck_of_the_gradient():
    tensors = inputs(3, 2, 5)
    checks.opcheck("layer_moments_backward", tensors[1], tensors[2], *tensors, 1)


@pytest.mark.parametrize("size", [(0, 2, 5), (3, 2, 0), (0, 0, 0)], ids=str)
def test_empty(ops, size):
    tensors = [tensor.requires_grad_() for tensor in inputs(*size)]
    value, reach = ops.layer_moments(*tensors, "relu")
    assert value.shape == (size[0], size[2])
    assert reach.shape == size
    for tensor, gradient in zip(tensors, torch.autograd.grad(value.sum() + reach.sum(), tensors), strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_normal_distribution_is_exact_to_the_rounding(dtype):
    """E relu' is the distribution, E erf the error function; beside 30 digits."""
    t = torch.cat((torch.linspace(-9, 9, 401), -torch.logspace(-8, 2, 40), torch.logspace(-8, 2, 40))).to(dtype)
    row, none = t[None], torch.zeros(1, 0, len(t), dtype=dtype)
    one, eps = torch.ones(1, dtype=dtype), torch.finfo(dtype).eps
    slope = compiled.layer_moments(row, torch.zeros_like(row), torch.ones_like(row)[None], one, "relu")[1][0, 0]
    value = compiled.layer_moments(row, torch.zeros_like(row), none, one, "erf")[0][0]
    with mpmath.workdps(30):
        for number, below, error in zip(t.tolist(), slope.tolist(), value.tolist(), strict=True):
            exact = mpmath.ncdf(number)
            assert abs(below - exact) <= 3 * eps * max(exact, 0.1)
            assert abs(error / mpmath.erf(number) - 1) <= 3 * eps


@ACTIVATION
@pytest.mark.parametrize("variance", [0.0, 1e-30, 1.0, 1e30])
def test_extreme_numbers(activation, variance):
    """Finite, and as the twin says; what is not a number stays so."""
    mean = torch.tensor([[0.0, 1e-30, 1e30, -1e30, 3.0, -3.0, float("nan")]])
    tensors = [mean, torch.full_like(mean, variance), torch.zeros(1, 1, 7), torch.ones(1)]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    found = compiled.layer_moments(*leaves, activation)[0]
    expected = gmcn.ops.reference.layer_moments(*(one.detach().double() for one in tensors), activation)[0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    gradients = torch.autograd.grad(found[:, :-1].sum(), leaves[:2])
    assert all(gradient[:, :-1].isfinite().all() for gradient in gradients)


def test_no_second_derivative():
    checks.assert_no_second_derivative(of("gelu"), inputs(2, 2, 3))


@ACTIVATION
def test_transforms(activation):
    """vmap of the gradient, and a graph without breaks."""
    tensors = inputs(2, 2, 3)

    def total(*tensors):
        return of(activation)(gmcn.ops, *tensors).square().sum()

    batch = [torch.stack((tensor, tensor.flip(-1))) for tensor in tensors]
    found = torch.func.vmap(torch.func.grad(total, (0, 1, 2, 3)))(*batch)
    for sample in range(2):
        expected = torch.func.grad(total, (0, 1, 2, 3))(*(tensor[sample] for tensor in batch))
        torch.testing.assert_close([one[sample] for one in found], [*expected])
    torch._dynamo.reset()
    whole = torch.compile(total, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(whole(*tensors), total(*tensors))


BAD = [
    (0, lambda tensor: tensor[:1], r"mean \[1, 5\] does not fit along \[3, 2, 5\]: expected \[3, 5\]"),
    (0, lambda tensor: tensor.half(), "mean must be float32 or float64, got torch.float16"),
    (1, lambda tensor: tensor.float(), "variance .* and along .* must have the same dtype and device"),
    (2, lambda tensor: tensor[0], r"along must be \[K, R, B\], got \[2, 5\]"),
    (3, lambda tensor: tensor[:2], r"weights \[2\] does not fit along \[3, 2, 5\]: expected \[3\]"),
]


@pytest.mark.parametrize(("place", "change", "message"), BAD)
def test_what_does_not_fit_is_refused(place, change, message):
    tensors = inputs(3, 2, 5)
    tensors[place] = change(tensors[place])
    with pytest.raises(ValueError, match=message):
        gmcn.ops.layer_moments(*tensors, "relu")


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="activation of layer_moments"):
        gmcn.ops.layer_moments(*inputs(3, 2, 5), "tanh")
    with pytest.raises(RuntimeError, match="9 is no activation"):
        torch.ops.gmcn.layer_moments(*inputs(3, 2, 5), 9)
