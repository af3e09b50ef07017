"""The largest rows of sets beside plain torch."""

from __future__ import annotations

import pytest
import torch

from gmcn import ops


def rows(*shape: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 40, 33), (4, 9, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_those_of_the_twin(shape, dtype):
    x = rows(*shape, dtype=dtype)
    assert torch.equal(ops.largest_rows(x), ops.reference.largest_rows(x))


def test_of_equal_rows_it_is_the_first():
    x = rows(3, 40, 50).round()  # so that many are equal
    assert torch.equal(ops.largest_rows(x), ops.reference.largest_rows(x))
    assert ops.largest_rows(torch.full((2, 9, 40), -torch.inf)).eq(0).all()


def test_what_is_no_number_leaves_a_row():
    found = ops.largest_rows(torch.full((2, 9, 40), torch.nan))
    assert (found >= 0).all()
    assert (found < 9).all()


def test_torch_can_see_it():
    torch.library.opcheck(torch.ops.gmcn.largest_rows.default, (rows(3, 5, 4),))


def test_threads_and_strides_change_nothing():
    x = rows(6, 50, 40, dtype=torch.float32)
    before, threads = ops.largest_rows(x), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        after = ops.largest_rows(x.permute(2, 0, 1).contiguous().permute(1, 2, 0))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(before, after)


@pytest.mark.parametrize("bad", [torch.zeros(2, 3), torch.zeros(2, 0, 3), torch.zeros(2, 3, 3, dtype=torch.int64)])
def test_other_tensors_are_refused(bad):
    with pytest.raises(ValueError, match=r"x must be \[B, M, C\]"):
        ops.largest_rows(bad)
