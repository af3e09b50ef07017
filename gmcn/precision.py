"""Products of matrices that :func:`torch.autocast` must not round: covariances have no digits to lose."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P, R = ParamSpec("P"), TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function of a tensor or mixture (and more): within, its products keep their precision."""

    @functools.wraps(function)
    def exact(first, *arguments, **options):
        kind = (first if isinstance(first, Tensor) else first.weights).device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            return function(first, *arguments, **options)
        with torch.autocast(kind, enabled=False):
            return function(first, *arguments, **options)

    return exact
