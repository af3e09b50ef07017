"""Tensors as they come out of other code: views, copies that are none, other precisions, other modes of torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gmcn.ops

from .compiled import compiled
from .functions import OPERATIONS, gradient, vector

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def negative_view(tensor: Tensor) -> Tensor:
    """The same numbers, stored with the other sign."""
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


def overlapping(tensor: Tensor) -> Tensor:
    """Every member of the batch is the first, stored once."""
    return tensor[:1].expand_as(tensor)


@every_operation
@pytest.mark.parametrize("view", [negative_view, overlapping], ids=["negative", "expanded"])
def test_views_are_what_they_show(name, view):
    function = vector(name, compiled)
    views = [view(tensor) for tensor in OPERATIONS[name][1](0)]
    copies = [tensor.clone(memory_format=torch.contiguous_format).resolve_neg() for tensor in views]
    assert torch.equal(function(*views), function(*copies))
    for one, other in zip(gradient(function, views), gradient(function, copies), strict=True):
        assert torch.equal(one, other)


@every_operation
def test_an_input_that_was_changed_meanwhile_is_noticed(name):
    """Its gradient would be that of other numbers."""
    leaves = [tensor.requires_grad_() for tensor in OPERATIONS[name][1](0)]
    copies = [leaf * 1 for leaf in leaves]
    outcome = vector(name, compiled)(*copies)
    if name == "integrate":  # linear
        return
    with pytest.raises(RuntimeError, match="inplace"):  # noqa: PT012  (torch says it at one of both places)
        with torch.no_grad():
            for copy in copies:
                copy.mul_(2)
        outcome.sum().backward()


@every_operation
def test_autocast_rounds_nothing(ops, name):
    tensors = [tensor.float() for tensor in OPERATIONS[name][1](0)]
    function = vector(name, ops)

    def in_half(*tensors: Tensor) -> Tensor:  # and the backward pass outside, as torch wants it
        with torch.autocast("cpu", torch.bfloat16):
            return function(*tensors)

    assert torch.equal(in_half(*tensors), function(*tensors))
    for one, other in zip(gradient(in_half, tensors), gradient(function, tensors), strict=True):
        assert torch.equal(one, other)


@every_operation
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex128], ids=str)
def test_other_numbers_are_refused(name, dtype):
    tensors = [tensor.to(dtype) for tensor in OPERATIONS[name][1](0)]
    with pytest.raises(ValueError, match="must be float32 or float64, got"):
        vector(name, gmcn.ops)(*tensors)


@every_operation
def test_inference_mode(name):
    tensors = OPERATIONS[name][1](0)
    wanted = vector(name, compiled)(*tensors)
    with torch.inference_mode():
        assert torch.equal(vector(name, compiled)(*tensors), wanted)


@every_operation
@pytest.mark.parametrize("batch", [2, 0])
def test_shapes_alone(name, batch):
    """On the device "meta" results have their sizes, and nothing is computed."""
    tensors = OPERATIONS[name][1](0)
    batched = len(tensors) - (3 if name.startswith("convolve") else 0)  # the last ones are kernels
    tensors = [*(tensor[:batch] for tensor in tensors[:batched]), *tensors[batched:]]
    found = vector(name, gmcn.ops)(*(tensor.to("meta") for tensor in tensors))
    assert found.is_meta
    assert found.shape == vector(name, gmcn.ops)(*tensors).shape


@pytest.mark.parametrize("fullgraph", [True, False])
def test_compiled_functions_in_forward_mode_are_refused(fullgraph):
    """torch.compile has no forward mode for functions of others; with breaks in its graph it runs as without it."""
    points, *tensors = OPERATIONS["evaluate"][1](0)

    def values(points: Tensor) -> Tensor:
        return vector("evaluate", gmcn.ops)(points, *tensors)

    def pushed(points: Tensor) -> Tensor:
        return torch.func.jvp(values, (points,), (points,))[1]

    torch._dynamo.reset()
    error = torch._dynamo.exc.Unsupported if fullgraph else NotImplementedError
    with pytest.raises(error, match=r"autograd\.Function|has no derivative in forward mode"):
        torch.compile(pushed, backend="eager", fullgraph=fullgraph)(points)
