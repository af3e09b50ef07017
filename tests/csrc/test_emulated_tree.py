"""tree_log_prob on CUDA, run on the CPU, beside the CPU's own."""

from __future__ import annotations

import math

import pytest
import torch

from tests.csrc.test_emulated_pairs import DIMS, DTYPES, close, cpu
from tests.ops.test_tree_log_prob import inputs


def both(emulated, tensors, sizes):
    """Values, and gradients of a random combination of those that are finite."""
    found = []
    for operations in (emulated, cpu):
        values, *kept = operations.tree_log_prob(*tensors, sizes)
        gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=values.dtype)
        found.append([values, *operations.tree_log_prob_backward(gradient, *tensors, *kept, sizes)])
    return found


@DIMS
@DTYPES
@pytest.mark.parametrize(("sizes", "points"), [((1,), 1), ((300,), 130), ((2, 4, 12), 300), ((1, 1, 3), 7)], ids=str)
def test_tree_log_prob(emulated, dim, dtype, sizes, points):
    tensors = [tensor.to(dtype) for tensor in inputs(sizes, dim, points)]
    close(*both(emulated, tensors, list(sizes)))


@DTYPES
def test_dead_components(emulated, dtype):
    tensors = [tensor.to(dtype) for tensor in inputs((4, 16), 3, 140)]
    tensors[1][0, 2], tensors[1][1, :4], tensors[1][:, 4:8] = -math.inf, -math.inf, -math.inf
    ours, expected = both(emulated, tensors, [4, 16])
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-4, atol=1e-4)
    close(ours[1:], expected[1:])


def test_no_points(emulated):
    close(*both(emulated, inputs((2, 4), 3, 0), [2, 4]))
