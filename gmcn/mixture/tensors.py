"""Shared by the classes of this package: tensors in frozen dataclasses, and tests of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SIZE = 2**24  # numbers of one tensor at a time, where a result is made in parts

Value = TypeVar("Value", bound="DataclassInstance")


def mapped(value: Value, function: Callable[[Tensor], Tensor]) -> Value:
    """A dataclass with ``function(tensor)`` for every tensor in it, also in those inside; nothing is checked again."""
    made = object.__new__(type(value))
    for field in fields(value):
        part = getattr(value, field.name)
        object.__setattr__(made, field.name, function(part) if isinstance(part, Tensor) else mapped(part, function))
    return made


def equal(first: Value, second: Value, lead: int) -> Tensor | bool:  # [...]
    """For each of ``lead`` leading dimensions' positions: whether two dataclasses of one kind have the same numbers."""
    if type(first) is not type(second):
        return False
    same: Tensor | bool = True
    for field in fields(first):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if not isinstance(one, Tensor):
            alike = equal(one, other, lead)
        elif one.shape != other.shape:
            return False
        else:
            alike = (one == other).flatten(lead).all(-1)
        same = same & alike
    return same


def take(
    tensor: Tensor,  # [..., N, *]
    index: Tensor,  # [..., n]
) -> Tensor:  # [..., n, *]
    """The components that ``index`` names, for each of the leading positions its own ones."""
    rest = (1,) * (tensor.ndim - index.ndim)
    return torch.take_along_dim(tensor, index.reshape(*index.shape, *rest), index.ndim - 1)


def check_floats(**tensors: Tensor) -> None:
    """ValueError unless all are tensors of float32, or all of float64, on one device."""
    first = next(iter(tensors))
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} must be float32 or float64, got {tensor.dtype}")
        if tensor.dtype != tensors[first].dtype or tensor.device != tensors[first].device:
            raise ValueError(
                f"{name} ({tensor.dtype}, {tensor.device}) and {first} ({tensors[first].dtype}, "
                f"{tensors[first].device}) must have the same dtype and device"
            )


def check_values(
    good: Tensor,  # [..., N] or [...], booleans
    sentence: str,
) -> None:
    """ValueError with ``sentence`` and the first place where something is not good.

    Values are asked on the CPU only: on CUDA the program would wait for them, and torch.compile has none. There, what
    is computed from wrong values becomes not-a-number. Neither does :func:`torch.func.vmap` let a program ask.
    """
    unknown = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if good.device.type == "cpu" and not unknown and not good.all():
        where = (~good).nonzero()[0].tolist()
        raise ValueError(f"{sentence} (at {where})" if where else sentence)
