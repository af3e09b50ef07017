"""Derivatives of the compiled operations: reverse mode, also by torch.func and vmap; others are refused in words.

What :func:`torch.library.register_autograd` makes of an operator is refused by torch.func, and is constant in forward
mode without a word. Where either is at work, a :class:`torch.autograd.Function` of the same formula stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gmcn.ops import library

Rule = Callable[..., Any]  # one of torch's: its arguments are those of the operation

_FUNCTIONS: dict[str, type[torch.autograd.Function]] = {}


def transformed() -> bool:
    """True inside torch.func, vmap or forward mode; torch itself tests for them in this way."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def call(name: str, *arguments: Any) -> Any:
    """``gmcn::<name>``, as every transformation of torch can see it."""
    if transformed():
        return _FUNCTIONS[name].apply(*arguments)
    return getattr(torch.ops.gmcn, name)(*arguments)


def differentiable(
    name: str, tensors: int, *, results: tuple[int, ...] = (), kept: int = 0, kernels: tuple[int, ...] = ()
) -> None:
    """Register ``gmcn::<name>_backward`` as the derivative of ``gmcn::<name>``.

    The operation takes so many ``tensors`` and then numbers. Its last ``kept`` outputs are for the backward operation
    alone, which takes the gradients of the others, the tensors, those of the others whose places are ``results``, what
    is kept, and the numbers, and gives a gradient for each tensor. ``kernels``: see :func:`register`.
    """
    outputs = len(getattr(torch.ops.gmcn, name).default._schema.returns) - kept

    @library.fake(f"{name}_backward")
    def _(*arguments: Any) -> tuple[Tensor, ...]:
        return tuple(tensor.new_empty(tensor.shape) for tensor in arguments[outputs : outputs + tensors])

    def setup_context(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
        ctx.numbers = inputs[tensors:]
        ctx.mark_non_differentiable(*output[outputs:])
        ctx.save_for_backward(*inputs[:tensors], *(output[place] for place in results), *output[outputs:])

    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = call(f"{name}_backward", *gradients[:outputs], *ctx.saved_tensors, *ctx.numbers)
        return *found, *[None] * len(ctx.numbers)

    register(name, setup_context, backward, kernels)


def register(name: str, setup_context: Rule, backward: Rule, kernels: tuple[int, ...] = ()) -> None:
    """Register the autograd formula of ``gmcn::<name>``; a derivative that it does not have is refused, never zero.

    ``kernels`` are the places of the tensors that all mixtures share; every other tensor begins with the batch.
    """

    def refuse_forward_mode(ctx: Any, *tangents: Any) -> None:
        raise NotImplementedError(
            f"gmcn.ops.{name} has no derivative in forward mode; use reverse mode (backward, torch.func.vjp, jacrev), "
            f"or its twin gmcn.ops.reference.{name}"
        )

    def refuse_second(ctx: Any, *gradients: Any) -> None:
        raise NotImplementedError(
            f"gmcn.ops.{name} has no second derivative; use its twin gmcn.ops.reference.{name} where one is needed"
        )

    torch.library.register_autograd(f"gmcn::{name}", backward, setup_context=setup_context)
    torch.library.register_autograd(f"gmcn::{name}_backward", refuse_second)
    _FUNCTIONS[name] = _function(name, setup_context, backward, refuse_forward_mode, {*kernels})
    # A gradient of kernels is summed over the batch: no two mapped samples may meet there.
    arguments = getattr(torch.ops.gmcn, f"{name}_backward").default._schema.arguments
    shared = {*range(len(arguments))} if kernels else set()
    _FUNCTIONS[f"{name}_backward"] = _function(f"{name}_backward", _keep_nothing, refuse_second, refuse_second, shared)


def _keep_nothing(ctx: Any, inputs: Any, output: Any) -> None:
    """Save nothing: a Function without derivative needs none of its arguments."""


def _function(
    name: str, setup_context: Rule, backward: Rule, jvp: Rule, shared: set[int]
) -> type[torch.autograd.Function]:
    """``shared`` are the places of arguments whose mapped dimension cannot become a part of the batch."""

    def vmap(info: Any, in_dims: Sequence[Any], *arguments: Any) -> Any:
        mapped = {place for place, dim in enumerate(in_dims) if isinstance(dim, int)}  # a list of numbers has a list
        rows = [
            argument.movedim(in_dims[place], 0) if place in mapped else argument
            for place, argument in enumerate(arguments)
        ]
        if mapped & shared:
            outputs = _one_by_one(name, rows, mapped, info.batch_size)
        else:
            outputs = _as_batch(name, rows, mapped, shared, info.batch_size)
        return outputs, (0 if isinstance(outputs, Tensor) else (0,) * len(outputs))

    rules = {
        "forward": getattr(torch.ops.gmcn, name),
        "setup_context": setup_context,
        "backward": backward,
        "jvp": jvp,
        "vmap": vmap,
    }
    return type(f"gmcn_{name}", (torch.autograd.Function,), {key: staticmethod(rule) for key, rule in rules.items()})


def _as_batch(name: str, rows: list[Any], mapped: set[int], shared: set[int], size: int) -> Any:
    """One call for all samples; those of one sample's results are next to each other in the batch."""

    def join(place: int, row: Any) -> Any:
        if place in shared or not isinstance(row, Tensor):
            return row
        return (row if place in mapped else row.expand(size, *row.shape)).flatten(0, 1)

    def split(output: Tensor) -> Tensor:
        return output.unflatten(0, (size, output.shape[0] // size))

    outputs = call(name, *(join(place, row) for place, row in enumerate(rows)))
    return split(outputs) if isinstance(outputs, Tensor) else tuple(map(split, outputs))


def _one_by_one(name: str, rows: list[Any], mapped: set[int], size: int) -> Any:
    """A call for each sample."""
    results = [
        call(name, *(row[sample] if place in mapped else row for place, row in enumerate(rows)))
        for sample in range(size)
    ]
    if isinstance(results[0], Tensor):
        return torch.stack(results)
    return tuple(map(torch.stack, zip(*results, strict=True)))
