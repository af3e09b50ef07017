"""Products of matrices that :func:`torch.autocast` must not round: covariances have no digits to lose."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P, R, C = ParamSpec("P"), TypeVar("R"), TypeVar("C", bound=type)
DEVICES = ("cpu", "cuda", "mps", "xpu")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function within which products keep their precision."""

    @functools.wraps(function)
    def exact(*arguments: P.args, **options: P.kwargs) -> R:
        rounding = [kind for kind in DEVICES if torch.is_autocast_enabled(kind)]
        if not rounding:
            return function(*arguments, **options)
        with contextlib.ExitStack() as stack:
            for kind in rounding:
                stack.enter_context(torch.autocast(kind, enabled=False))
            return function(*arguments, **options)

    return exact


def full_precision_methods(cls: C) -> C:
    """Decorator of a class: :func:`full_precision` of every method and property that it defines itself."""
    for name, value in list(vars(cls).items()):
        if inspect.isfunction(value) and not name.startswith("__"):
            setattr(cls, name, full_precision(value))
        elif isinstance(value, property) and value.fget is not None:
            setattr(cls, name, property(full_precision(value.fget), doc=value.__doc__))
    return cls
