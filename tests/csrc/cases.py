"""The cases in which kernels of CUDA run on the CPU, a thread at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

DIMS = (2, 3)
DTYPES = (torch.float32, torch.float64)


def everywhere(names: tuple[str, ...], cases: Sequence[Any], large: Sequence[Any] = ()) -> pytest.MarkDecorator:
    """``names`` of each case, then ``dim`` and ``dtype``.

    All but 3D in float32 and 2D in float64 are slow; of large cases, which take 10 seconds each, all but the first.
    """
    found = []
    for case, dim, dtype in itertools.product(cases, DIMS, DTYPES):
        rare = (dim, dtype) not in ([(3, torch.float32)] if case in large else [(3, torch.float32), (2, torch.float64)])
        label = f"{'-'.join(map(str, case))}-{dim}-{str(dtype).removeprefix('torch.')}"
        found.append(pytest.param(*case, dim, dtype, id=label, marks=[pytest.mark.slow] if rare else []))
    return pytest.mark.parametrize((*names, "dim", "dtype"), found)
