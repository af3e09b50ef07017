"""The encoder of PointGMM normalises only the rows that will be the maxima."""

from __future__ import annotations

import copy

import pytest
import torch

from gmcn.nn import BatchNorm, point_encoder
from gmcn.nn.point_encoder import NormedMaxima, PointEncoder
from gmcn.results.allocations import peak_of_allocations


def plain_maxima(norm, rows, matrix):
    return norm(rows.flatten(0, 1) @ matrix.mT).unflatten(0, rows.shape[:2]).amax(1)


@pytest.fixture
def workload():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 30, 7, dtype=torch.float64, generator=generator).mul(3).add(10)
    matrix = torch.randn(20, 7, dtype=torch.float64, generator=generator)
    plain, quick = BatchNorm(20).double(), NormedMaxima(20).double()
    with torch.no_grad():
        plain.weight.copy_(torch.linspace(-1, 1, 20))
        plain.bias.copy_(torch.linspace(0, 2, 20))
    quick.load_state_dict(plain.state_dict())
    return rows, matrix, plain, quick


@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_maxima_gradients_and_running_averages_are_those_of_all_rows(workload, at_once, monkeypatch):
    monkeypatch.setattr(point_encoder, "CACHE", at_once)
    rows, matrix, plain, quick = workload
    outcomes = []
    for model in (plain, quick):
        given = [rows.clone().requires_grad_(), matrix.clone().requires_grad_()]
        value = plain_maxima(model, *given) if model is plain else model(*given)
        value.sin().sum().backward()
        outcomes.append((value.detach(), *(each.grad for each in given), model.weight.grad, model.bias.grad))
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(quick.state_dict()[name], value)
    torch.testing.assert_close(quick.eval()(rows, matrix), plain_maxima(plain.eval(), rows, matrix))


@torch.no_grad()
def test_outside_training_the_products_of_some_sets_are_made_at_a_time(workload, monkeypatch):
    monkeypatch.setattr(point_encoder, "CACHE", 2 * 30 * 20)
    rows, matrix, _, quick = workload
    many = rows.repeat(50, 1, 1)
    products = 8 * len(many) * 30 * 20
    assert peak_of_allocations(lambda: quick.eval()(many, matrix)) < products / 4


def test_the_second_derivative_is_that_of_all_rows(workload):
    rows, matrix, plain, quick = workload
    found = torch.autograd.functional.hvp(lambda m: quick(rows, m).sin().sum(), matrix, torch.ones_like(matrix))[1]
    wanted = torch.autograd.functional.hvp(
        lambda m: plain_maxima(plain, rows, m).sin().sum(), matrix, torch.ones_like(matrix)
    )[1]
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


def test_a_channel_far_from_zero_keeps_its_digits(workload):
    rows, matrix, plain, quick = workload
    far = (rows + 1000).float()
    exact = plain_maxima(plain, far.double(), matrix)
    torch.testing.assert_close(quick.float()(far, matrix.float()).double(), exact, rtol=1e-3, atol=1e-3)


def test_autocast_does_not_round_the_statistics():
    torch.manual_seed(0)
    network = PointEncoder(widths=(8, 16))
    points = torch.randn(3, 20, 3)
    exact = copy.deepcopy(network)(points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(points)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)


def test_one_row_is_no_batch(workload):
    rows, matrix, _, quick = workload
    with pytest.raises(ValueError, match="a batch of 1 row has no variance"):
        quick(rows[:1, :1], matrix)
    assert quick.running_var.isfinite().all()


def test_neighbours_far_from_the_origin_do_not_change_with_a_rotation():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, 1024, 3, generator=generator) * 2 - 1 + 50
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    turned = point_encoder.neighbourhoods(points @ turn.mT, 1)
    distances = points[0].double()[:, None] - points[0].double()
    nearest = distances.norm(dim=-1).fill_diagonal_(torch.inf).argmin(1)
    for found in (point_encoder.neighbourhoods(points, 1), turned):  # the second number is the neighbour's own length
        wrong = (found[0, :, 1] - points[0, nearest].norm(dim=-1)).abs() > 1e-3
        assert wrong.float().mean() < 2e-3, "but for two that are as near"
