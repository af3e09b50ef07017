"""Responsibilities of a tile of points, compiled and in plain torch."""

from __future__ import annotations

import pytest
import torch

from gmcn.fitting.gmm.shares import by_torch, share_out

WAYS = pytest.mark.parametrize("way", [share_out, by_torch], ids=["compiled", "torch"])


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("components", [1, 5, 16, 25, 1000])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3])
def test_responsibilities_of_a_tile(way, dtype, components, scale):
    generator = torch.Generator().manual_seed(components)
    logs = scale * torch.randn(77, components, generator=generator, dtype=dtype)
    mass = torch.rand(77, generator=generator, dtype=dtype)
    shares, whole = way(logs.clone(), mass)
    exact = logs.double()
    rounding = 3e-7 if dtype == torch.float32 else 1e-14
    # A large logarithm less another one has the rounding of the large ones.
    torch.testing.assert_close(
        shares.double(), exact.softmax(-1) * mass.double()[:, None], rtol=0, atol=max(1, scale) * rounding
    )
    torch.testing.assert_close(whole.double(), exact.logsumexp(-1), rtol=rounding, atol=rounding)
    # What else would take a processor a hundred times as long.
    assert ((shares == 0) | (shares > torch.finfo(dtype).eps ** 3 * mass[:, None] / 2)).all()


@WAYS
def test_responsibilities_of_what_is_no_number(way):
    logs = torch.zeros(3, 20)
    logs[0, 2], logs[1, 2:] = float("nan"), -float("inf")
    shares, whole = way(logs, torch.ones(3))
    assert shares[0].isnan().all()
    assert whole[0].isnan()
    torch.testing.assert_close(shares[1:, 0], torch.tensor([0.5, 0.05]))
    assert (shares[1, 2:] == 0).all()


@WAYS
def test_leading_dimensions(way):
    logs, mass = torch.randn(2, 3, 7, 19), torch.rand(2, 3, 7)
    shares, whole = way(logs.clone(), mass)
    torch.testing.assert_close(shares, logs.softmax(-1) * mass[..., None])
    torch.testing.assert_close(whole, logs.logsumexp(-1))
