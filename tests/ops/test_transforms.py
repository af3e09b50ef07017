"""Every operation under every way that torch has to differentiate or map: right numbers, or a sentence; never zeros."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import gmcn.ops.reference

from .compiled import compiled
from .functions import KERNELS, OPERATIONS, Function, gradient, scalar, vector

SAMPLES = 3


def every(tensors: list[Tensor]) -> tuple[int, ...]:
    return tuple(range(len(tensors)))


def directions(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in tensors)


# What is wanted, in reverse mode without any transformation.


def jacobian(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.functional.jacobian(function, tuple(tensors))


def pushed(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    parts = zip(jacobian(function, tensors), directions(tensors), strict=True)
    return (sum(part.flatten(1) @ direction.flatten() for part, direction in parts),)


def hessian_product(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    slope = sum(
        (part * direction).sum()
        for part, direction in zip(gradient(function, leaves, True), directions(tensors), strict=True)
    )
    if not slope.requires_grad:
        return tuple(map(torch.zeros_like, leaves))
    return torch.autograd.grad(slope, leaves, allow_unused=True, materialize_grads=True)


# The transformations.


def pulled(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    values, pull = torch.func.vjp(scalar(function), *tensors)
    return pull(torch.ones_like(values))


def batched_gradients(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    values = function(*leaves)
    rows = torch.eye(values.numel(), dtype=values.dtype)
    parts = torch.autograd.grad(values, leaves, rows, is_grads_batched=True, allow_unused=True)
    return tuple(
        leaf.new_zeros(len(rows), *leaf.shape) if part is None else part
        for leaf, part in zip(leaves, parts, strict=True)
    )


def with_graph(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """torch.func beside leaves of plain autograd: the gradients of both meet."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    value = torch.func.vjp(scalar(function), *leaves)[0]
    return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def dual(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(tensors, directions(tensors), strict=True)]
        return (forward_ad.unpack_dual(function(*duals)).tangent,)


def dual_of_gradient(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    with forward_ad.dual_level():
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        duals = [forward_ad.make_dual(*pair) for pair in zip(leaves, directions(tensors), strict=True)]
        parts = gradient(function, duals, True)
        tangents = [forward_ad.unpack_dual(part).tangent for part in parts]
        return tuple(
            torch.zeros_like(part) if tangent is None else tangent
            for part, tangent in zip(parts, tangents, strict=True)
        )


REVERSE = {
    "grad": (lambda f, x: torch.func.grad(scalar(f), every(x))(*x), gradient),
    "vjp": (pulled, gradient),
    "vjp beside autograd": (with_graph, gradient),
    "jacrev": (lambda f, x: torch.func.jacrev(f, every(x))(*x), jacobian),
    "jacobian, vectorised": (
        lambda f, x: torch.autograd.functional.jacobian(f, tuple(x), vectorize=True),
        jacobian,
    ),
    "batched gradients": (batched_gradients, jacobian),
}
FORWARD = {
    "jvp": (lambda f, x: (torch.func.jvp(f, tuple(x), directions(x))[1],), pushed),
    "linearize": (lambda f, x: (torch.func.linearize(f, *x)[1](*directions(x)),), pushed),
    "jacfwd": (lambda f, x: torch.func.jacfwd(f, every(x))(*x), jacobian),
    "dual numbers": (dual, pushed),
    "jacobian, forward": (
        lambda f, x: torch.autograd.functional.jacobian(f, tuple(x), vectorize=True, strategy="forward-mode"),
        jacobian,
    ),
    "functional.jvp": (lambda f, x: (torch.autograd.functional.jvp(f, tuple(x), directions(x))[1],), pushed),
    "functional.hvp": (
        lambda f, x: torch.autograd.functional.hvp(scalar(f), tuple(x), directions(x))[1],
        hessian_product,
    ),
    "functional.vhp": (
        lambda f, x: torch.autograd.functional.vhp(scalar(f), tuple(x), directions(x))[1],
        hessian_product,
    ),
    "forward over reverse": (
        lambda f, x: torch.func.jvp(torch.func.grad(scalar(f), every(x)), tuple(x), directions(x))[1],
        hessian_product,
    ),
    "reverse over reverse": (
        lambda f, x: torch.func.vjp(torch.func.grad(scalar(f), every(x)), *x)[1](directions(x)),
        hessian_product,
    ),
    "reverse over forward": (
        lambda f, x: torch.func.grad(lambda *y: torch.func.jvp(scalar(f), y, directions(x))[1], every(x))(*x),
        hessian_product,
    ),
    "dual numbers of a gradient": (dual_of_gradient, hessian_product),
    "twice backward": (hessian_product, hessian_product),
}
# With the samples' tensors stacked along a new dimension.
MAPPED = {
    "vmap": (lambda f, x: (torch.vmap(f)(*x),), lambda f, x: (f(*x),)),
    "vmap of grad": (lambda f, x: torch.vmap(torch.func.grad(scalar(f), every(x)))(*x), gradient),
    "vmap of jacrev": (lambda f, x: torch.vmap(torch.func.jacrev(f, every(x)))(*x), jacobian),
    "grad of vmap": (
        lambda f, x: torch.func.grad(lambda *y: torch.vmap(scalar(f))(*y).sum(), every(x))(*x),
        gradient,
    ),
    "backward of vmap": (lambda f, x: gradient_of_sum(torch.vmap(scalar(f)), x), gradient),
}


def gradient_of_sum(function: Function, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    return torch.autograd.grad(function(*leaves).sum(), leaves, allow_unused=True, materialize_grads=True)


def stack(rows) -> list[Tensor]:
    """Of several lists of the same tensors, each tensor with a new first dimension."""
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def assert_close(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@functools.cache
def expected(wanted: Callable, name: str, seed: int = 0) -> tuple[Tensor, ...]:
    """Of the plain-torch twin."""
    return wanted(vector(name, gmcn.ops.reference), OPERATIONS[name][1](seed))


every_operation = pytest.mark.parametrize("name", OPERATIONS)


@every_operation
@pytest.mark.parametrize("transform", REVERSE)
def test_reverse_mode(name, transform):
    found, wanted = REVERSE[transform]
    tensors = OPERATIONS[name][1](0)
    assert_close(found(vector(name, compiled), tensors), expected(wanted, name))


@every_operation
@pytest.mark.parametrize("transform", FORWARD)
def test_other_derivatives_are_right_or_refused(name, transform):
    if (name, transform) == ("refine_em", "reverse over forward"):
        pytest.skip("torch's own slogdet has a wrong derivative there")
    found, wanted = FORWARD[transform]
    tensors = OPERATIONS[name][1](0)
    if name in KERNELS:
        with pytest.raises(NotImplementedError, match=rf"gmcn\.ops\.{name} has no .*its twin gmcn\.ops\.reference\."):
            found(vector(name, compiled), tensors)
    else:
        assert_close(found(vector(name, compiled), tensors), expected(wanted, name))


@every_operation
@pytest.mark.parametrize("transform", MAPPED)
def test_mapped(name, transform):
    found, wanted = MAPPED[transform]
    samples = [OPERATIONS[name][1](seed) for seed in range(SAMPLES)]
    results = [expected(wanted, name, seed) for seed in range(SAMPLES)]
    assert_close(found(vector(name, compiled), stack(samples)), stack(results))


@every_operation
def test_mapped_over_one_input_alone(name):
    """Along its last dimension; the others are the same for all samples, and their gradients are each sample's own."""
    function, first = vector(name, compiled), OPERATIONS[name][1](0)
    for place in every(first):
        varied = [OPERATIONS[name][1](seed)[place] for seed in range(SAMPLES)]
        dims = [None] * len(first)
        dims[place] = -1
        samples = [[*first[:place], some, *first[place + 1 :]] for some in varied]
        stacked = [*first[:place], torch.stack(varied, -1), *first[place + 1 :]]
        found = torch.vmap(torch.func.grad(scalar(function), every(first)), tuple(dims))(*stacked)
        wanted = [gradient(vector(name, compiled), sample) for sample in samples]
        assert_close(found, stack(wanted))


@every_operation
def test_mapped_twice(name):
    samples = [[OPERATIONS[name][1](2 * row + column) for column in range(2)] for row in range(SAMPLES)]
    function = torch.func.grad(scalar(vector(name, compiled)), every(samples[0][0]))
    found = torch.vmap(torch.vmap(function))(*stack([stack(row) for row in samples]))
    assert_close(found, stack([stack([gradient(vector(name, compiled), one) for one in row]) for row in samples]))


@every_operation
@pytest.mark.parametrize("transform", ["jvp", "reverse over reverse"])
def test_the_twin_has_what_the_operation_refuses(name, transform):
    found, wanted = FORWARD[transform]
    assert_close(found(vector(name, gmcn.ops.reference), OPERATIONS[name][1](0)), expected(wanted, name))
