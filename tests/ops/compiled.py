"""The compiled operations on the device that the environment variable GMCN_TEST_DEVICE names.

That is cpu (the default) or cuda. Tests make their inputs on the CPU and look at results there; with cuda, arguments
travel to the GPU and results back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from torch import Tensor

import gmcn.ops
from gmcn import Mixture

DEVICE = os.environ.get("GMCN_TEST_DEVICE", "cpu")


class _Elsewhere:
    """The module ``gmcn.ops`` for tensors that are on the CPU, computed on another device."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(gmcn.ops, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return move(operation(*(move(argument, DEVICE) for argument in arguments), **options), "cpu")

        return call


def move(value: Any, device: str) -> Any:
    """Tensors and mixtures on another device, differentiably; anything else as it is."""
    return value.to(device) if isinstance(value, (Tensor, Mixture)) else value


compiled = gmcn.ops if DEVICE == "cpu" else _Elsewhere()
