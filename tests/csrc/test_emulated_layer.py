"""layer_moments on CUDA, run on the CPU, beside the CPU's own."""

from __future__ import annotations

import pytest
import torch

from tests.csrc.test_emulated_pairs import DTYPES, close, cpu
from tests.ops.test_layer_moments import inputs


@DTYPES
@pytest.mark.parametrize("code", range(4))
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 0, 7), (5, 4, 300)], ids=str)
def test_layer_moments(emulated, dtype, code, size):
    tensors = [tensor.to(dtype) for tensor in inputs(*size)]
    close(emulated.layer_moments(*tensors, code), cpu.layer_moments(*tensors, code))
    upstream = [torch.ones_like(tensors[0]), torch.ones_like(tensors[2])]
    arguments = (*upstream, *tensors, code)
    close(emulated.layer_moments_backward(*arguments), cpu.layer_moments_backward(*arguments))
