"""Checks that every operation has to pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

import gmcn.ops
import gmcn.ops.reference
from gmcn import Mixture

from .compiled import DEVICE, compiled

Inputs = Sequence[Mixture | Tensor]
Operation = Callable[..., Mixture | Tensor]  # (ops, *inputs)


def _tensors(values: Inputs | Mixture | Tensor) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)]


def _cast(inputs: Inputs, dtype: torch.dtype) -> list[Mixture | Tensor]:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype).clone().requires_grad_()

    return [value.map(leaf) if isinstance(value, Mixture) else leaf(value) for value in inputs]


def run(operation: Operation, ops, inputs: Inputs, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Outputs and gradients of a fixed random functional of them; those of covariances are symmetrised."""
    leaves = _cast(inputs, dtype)
    outputs = _tensors(operation(ops, *leaves))
    generator = torch.Generator().manual_seed(7)
    functionals = [torch.randn(output.shape, generator=generator, dtype=torch.float64) for output in outputs]
    loss = sum((output * functional.to(dtype)).sum() for output, functional in zip(outputs, functionals, strict=True))
    gradients = []
    flat = _tensors(leaves)
    for leaf, gradient in zip(flat, torch.autograd.grad(loss, flat, allow_unused=True), strict=True):
        # An input that is passed on to nothing may have no gradient in one implementation and zeros in another.
        gradients.append(torch.zeros_like(leaf) if gradient is None else gradient)
    covariances = {id(value.covariances) for value in leaves if isinstance(value, Mixture)}
    gradients = [
        (gradient + gradient.mT) / 2 if id(leaf) in covariances else gradient
        for leaf, gradient in zip(flat, gradients, strict=True)
    ]
    return [output.detach() for output in outputs] + gradients


def errors(actual: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Largest deviation of each tensor relative to the largest magnitude of the exact one."""
    for one, other in zip(actual, exact, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
    return [
        ((one.double() - other).abs().max() / other.abs().max().clamp(min=1e-30)).item() if other.numel() else 0.0
        for one, other in zip(actual, exact, strict=True)
    ]


def assert_budget(operation: Operation, inputs: Inputs) -> None:
    """Value and gradient in float32: at most twice the error of the plain-torch twin, both against float64."""
    exact = run(operation, gmcn.ops.reference, inputs)
    naive = errors(run(operation, gmcn.ops.reference, inputs, torch.float32), exact)
    ours = errors(run(operation, compiled, inputs, torch.float32), exact)
    floor = 4 * torch.finfo(torch.float32).eps
    assert all(mine <= 2 * theirs + floor for mine, theirs in zip(ours, naive, strict=True)), (ours, naive)


def assert_twins(operation: Operation, inputs: Inputs, tolerance: float = 1e-10) -> None:
    """Value and gradient in float64 as the twin's."""
    deviations = errors(run(operation, compiled, inputs), run(operation, gmcn.ops.reference, inputs))
    assert max(deviations) <= tolerance, deviations


def assert_deterministic(operation: Operation, inputs: Inputs) -> None:
    """The same bits again, and on any number of threads, gradients included."""
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 1, 3):
            torch.set_num_threads(count)
            results.append(run(operation, compiled, inputs, torch.float32))
    finally:
        torch.set_num_threads(threads)
    for again in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], again, strict=True))


def assert_strides_do_not_matter(operation: Operation, inputs: Inputs) -> None:
    """Non-contiguous inputs, and an expanded gradient, give what contiguous ones do."""

    def every_other(tensor: Tensor) -> Tensor:
        doubled = torch.stack((tensor, torch.full_like(tensor, float("nan"))), -1)
        return doubled[..., 0]

    strided = [value.map(every_other) if isinstance(value, Mixture) else every_other(value) for value in inputs]
    outputs = []
    for some in (inputs, strided):
        leaves = [value.map(_require) if isinstance(value, Mixture) else _require(value) for value in some]
        results = _tensors(operation(compiled, *leaves))
        loss = sum(result.sum() for result in results)  # its gradient is an expanded scalar
        outputs.append(results + list(torch.autograd.grad(loss, _tensors(leaves), allow_unused=True)))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def _require(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def assert_gradcheck(ops, operation: Operation, inputs: Inputs) -> None:
    """Against finite differences; covariances vary as products AᵀA, so that they stay symmetric."""
    leaves, kinds = [], []
    for value in inputs:
        if isinstance(value, Mixture):
            leaves += [value.weights, value.positions, torch.linalg.cholesky(value.covariances).mT]
        else:
            leaves.append(value)
        kinds.append(isinstance(value, Mixture))
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        remaining, values = list(tensors), []
        for is_mixture in kinds:
            if is_mixture:
                weights, positions, factors, *remaining = remaining
                values.append(Mixture(weights, positions, factors.mT @ factors))
            else:
                values.append(remaining.pop(0))
        return tuple(_tensors(operation(ops, *values)))

    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-6, rtol=1e-5)


def opcheck(name: str, *arguments) -> None:
    """Schema, fake implementation and autograd registration of ``torch.ops.gmcn.<name>``, for any strides."""

    def transposed(argument):
        if not isinstance(argument, Tensor) or argument.ndim < 2:
            return argument
        return argument.detach().mT.contiguous().mT.requires_grad_(argument.requires_grad)

    if DEVICE != "cpu":
        arguments = tuple(
            value.detach().to(DEVICE).requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value
            for value in arguments
        )
    operator = getattr(torch.ops.gmcn, name).default
    torch.library.opcheck(operator, arguments)
    torch.library.opcheck(operator, tuple(map(transposed, arguments)))


def assert_no_second_derivative(operation: Operation, inputs: Inputs) -> None:
    """Refused in words; the gradient's gradient would else be zero."""
    leaves = _cast(inputs, torch.float64)
    outputs = _tensors(operation(compiled, *leaves))
    loss = sum(output.square().sum() for output in outputs)
    gradient = torch.autograd.grad(loss, _tensors(leaves)[0], create_graph=True)[0]
    with pytest.raises(NotImplementedError, match=r"has no second derivative; use its twin gmcn\.ops\.reference"):
        torch.autograd.grad(gradient.square().sum(), _tensors(leaves), allow_unused=True)
