"""Statistics of sets of rows beside plain torch, and the normalisation that they are for."""

from __future__ import annotations

import pytest
import torch

from gmcn import ops
from gmcn.nn import BatchNorm
from gmcn.nn.point_encoder import NormedMaxima


def rows(*shape: int, dtype=torch.float64) -> torch.Tensor:
    return (
        torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).mul(3).add(100).to(dtype)
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 40, 33), (4, 9, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_those_of_the_twin(shape, dtype):
    x = rows(*shape, dtype=dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for found, expected in zip(ops.set_statistics(x), ops.reference.set_statistics(x), strict=True):
        torch.testing.assert_close(found, expected, **tolerance)


def test_the_gradient_is_the_derivative():
    x = rows(3, 5, 19).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.set_statistics(x), (x,))


def test_torch_can_see_it():
    x = rows(3, 5, 4).requires_grad_()
    torch.library.opcheck(torch.ops.gmcn.set_statistics.default, (x,))
    many = torch.func.vmap(lambda x: ops.set_statistics(x)[2])(torch.stack([x.detach(), x.detach() + 1]))
    torch.testing.assert_close(many[1], many[0] + 1)


def test_threads_and_strides_change_nothing():
    x = rows(6, 50, 40, dtype=torch.float32)
    before, threads = ops.set_statistics(x), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        after = ops.set_statistics(x.permute(2, 0, 1).contiguous().permute(1, 2, 0))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("bad", [torch.zeros(2, 3), torch.zeros(2, 0, 3), torch.zeros(2, 3, 3, dtype=torch.int64)])
def test_other_tensors_are_refused(bad):
    with pytest.raises(ValueError, match=r"x must be \[B, M, C\]"):
        ops.set_statistics(bad)


def test_the_maximum_of_normalised_rows_needs_no_other_row():
    x, plain, quick = rows(4, 30, 20), BatchNorm(20).double(), NormedMaxima(20).double()
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(-1, 1, 20))
        plain.bias.copy_(torch.linspace(0, 2, 20))
    quick.load_state_dict(plain.state_dict())
    gradients = []
    for model in (plain, quick):
        given = x.clone().requires_grad_()
        if model is plain:
            value = model(given.flatten(0, 1)).unflatten(0, (4, 30)).amax(1)
        else:
            value = model(given)
        value.sin().sum().backward()
        gradients.append((value.detach(), given.grad, model.weight.grad, model.bias.grad))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(quick.state_dict()[name], value)
    torch.testing.assert_close(quick.eval()(x), plain.eval()(x.flatten(0, 1)).unflatten(0, (4, 30)).amax(1))
