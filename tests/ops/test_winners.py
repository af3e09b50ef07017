"""The best score of each position, and sums over the positions that each component wins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gmcn.ops  # noqa: F401  (loads the compiled operations)
from gmcn.ops.reference import winners as twins
from gmcn.ops.winners import best_and_shares, best_scores, sums_by_winner

from . import checks

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
GRID = pytest.mark.parametrize("grid", [False, True], ids=["no grid", "grid"])
# Images, window and step: none, overlapping, side by side, with positions left out, the whole image
WINDOWS = [
    ((7, 5, 3, 4), (1, 1), (1, 1)),
    ((5, 1, 9, 8), (3, 3), (1, 1)),
    ((3, 25, 6, 7), (4, 2), (1, 3)),
    ((2, 3, 9, 9), (2, 3), (3, 4)),
    ((4, 17, 5, 5), (5, 5), (1, 1)),
    ((1, 1, 1, 1), (1, 1), (1, 1)),
    ((300, 2, 6, 6), (2, 2), (2, 2)),
]


def scores_of(rows: int, components: int, grid: bool, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(rows + components)
    scores = 10 * torch.randn(rows, components, generator=generator, dtype=dtype) - 50
    smoothing = torch.randn(components, components, generator=generator, dtype=dtype).softmax(1) if grid else None
    return [scores, smoothing]


def positions_of(shape, kernel, stride, components: int = 9, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator, dtype=dtype)
    size = [(s - k) // d + 1 for s, k, d in zip(shape[2:], kernel, stride, strict=True)]
    winners = torch.randint(components, (shape[0], *size), generator=generator)
    return [x, winners, torch.randn(winners.shape, generator=generator, dtype=dtype)]


@GRID
@DTYPES
@pytest.mark.parametrize("components", [1, 2, 3, 16, 25, 49, 257])
@pytest.mark.parametrize("rows", [0, 1, 31, 1057])
def test_best_scores(grid, dtype, components, rows):
    scores, smoothing = scores_of(rows, components, grid, dtype)
    objective, winners = best_scores(scores, smoothing)
    smoothed = scores if smoothing is None else scores @ smoothing.mT
    rounding = 100 * torch.finfo(dtype).eps if grid else 0
    torch.testing.assert_close(objective, smoothed.amax(1), rtol=rounding, atol=0)
    assert (winners.dtype, winners.shape) == (torch.int64, (rows,))
    # What is nearly as good may win by rounding.
    torch.testing.assert_close(smoothed.gather(1, winners[:, None])[:, 0], smoothed.amax(1), rtol=rounding, atol=0)


@GRID
@DTYPES
def test_the_first_of_equal_ones_wins(grid, dtype):
    scores = torch.tensor([[0, 2, 2, 1, 2], [1, 1, 1, 1, 1], [-3, -3, -4, -3, -2]], dtype=dtype).repeat(30, 1)
    smoothing = torch.eye(5, dtype=dtype) if grid else None
    assert best_scores(scores, smoothing)[1].tolist() == [1, 0, 4] * 30


@GRID
def test_what_is_not_a_number_stays_so_and_infinities_are_numbers(grid):
    scores, smoothing = scores_of(70, 25, grid)
    scores[3, 7] = scores[40, 0] = scores[41, 24] = float("nan")
    scores[50, 1:] = -float("inf")
    scores[60] = -float("inf")
    objective, winners = best_scores(scores, smoothing)
    assert objective.isnan().nonzero().flatten().tolist() == [3, 40, 41]
    assert ((winners >= 0) & (winners < 25)).all()
    torch.testing.assert_close(objective, twins.best_scores(scores, smoothing)[0], equal_nan=True)
    assert objective[60] == -float("inf")
    if not grid:
        assert winners[50] == 0


@GRID
@DTYPES
@pytest.mark.parametrize("components", [1, 3, 25, 257])
@pytest.mark.parametrize("rows", [0, 1, 31, 1057])
def test_responsibilities_take_the_place_of_scores(grid, dtype, components, rows):
    scores, smoothing = scores_of(rows, components, grid, dtype)
    shares, least = scores.clone(), 1e-9
    found, expected = best_and_shares(shares, smoothing, least), best_scores(scores, smoothing)
    assert all(one.equal(other) for one, other in zip(found, expected, strict=True))
    # A large score less another one has the rounding of the large ones.
    torch.testing.assert_close(shares, scores.softmax(1), rtol=0, atol=50 * torch.finfo(dtype).eps + least)
    assert ((shares == 0) | (shares >= least)).all()
    twin = scores.clone()
    twins.best_and_shares(twin, smoothing, least)
    torch.testing.assert_close(twin, shares, rtol=0, atol=50 * torch.finfo(dtype).eps + least)


def test_responsibilities_of_what_is_no_number():
    scores = torch.zeros(40, 20)
    scores[0, 2], scores[1, 2:], scores[2], scores[3, 4] = float("nan"), -float("inf"), -float("inf"), 1e30
    best_and_shares(scores, None, 1e-9)
    assert scores[0].isnan().all()
    assert scores[1].tolist() == [0.5, 0.5] + [0] * 18
    assert scores[2].isnan().all()
    assert scores[3].tolist() == [0] * 4 + [1] + [0] * 15


@DTYPES
@pytest.mark.parametrize("squares", [False, True])
@pytest.mark.parametrize(("shape", "kernel", "stride"), WINDOWS, ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "others"])
def test_sums_by_winner(dtype, squares, shape, kernel, stride, layout):
    x, winners, slopes = positions_of(shape, kernel, stride, dtype=dtype)
    expected = twins.sums_by_winner(x.double(), winners, slopes.double(), 9, kernel, stride, squares=squares)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "others":
        x = x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    found = sums_by_winner(x, winners, slopes, 9, kernel, stride, squares=squares)
    scale = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close([one.double() for one in found], [*expected], rtol=scale, atol=10 * scale)
    assert found[2].shape == (9 if squares else 0, x.shape[1] * kernel[0] * kernel[1])


def test_what_is_stored_once_is_summed_as_often_as_it_is_seen():
    x, winners, slopes = positions_of((6, 3, 4, 4), (2, 2), (1, 1))
    for one in (x[:1].expand_as(x), x[:, :1].expand_as(x), x[..., :1].expand_as(x)):
        found = sums_by_winner(one, winners, slopes, 9, (2, 2), squares=True)
        expected = twins.sums_by_winner(one.contiguous(), winners, slopes, 9, (2, 2), squares=True)
        torch.testing.assert_close(found, expected)


def test_sums_of_many_positions_of_one_component_are_accurate():
    """A sum of numbers in order would be wrong by about a thousandth."""
    x = torch.rand(400_000, 3, 1, 1, generator=torch.Generator().manual_seed(0)) + 1
    winners, slopes = torch.full((400_000, 1, 1), 2), torch.ones(400_000, 1, 1)
    ones, sums, _ = sums_by_winner(x, winners, slopes, 4)
    assert ones.tolist() == [0, 0, 400_000, 0]
    torch.testing.assert_close(sums[2].double(), x.double().sum((0, 2, 3)), rtol=1e-5, atol=0)
    assert not sums[[0, 1, 3]].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_number_of_threads_changes_a_bit(dtype):
    scores, smoothing = scores_of(9000, 25, True, dtype)
    places = positions_of((60, 10, 14, 14), (3, 3), (1, 1), dtype=dtype)
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append([*best_scores(scores, smoothing), *sums_by_winner(*places, 9, (3, 3), squares=True)])
    finally:
        torch.set_num_threads(threads)
    assert all(one.equal(other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


def test_no_positions():
    x, winners, slopes = torch.ones(0, 3, 4, 4), torch.ones(0, 3, 3).long(), torch.ones(0, 3, 3)
    found = sums_by_winner(x, winners, slopes, 5, (2, 2), squares=True)
    assert [tuple(one.shape) for one in found] == [(5,), (5, 12), (5, 12)]
    assert not any(one.any() for one in found)


@GRID
def test_opcheck(grid):
    checks.opcheck("best_scores", *scores_of(5, 4, grid))
    torch.library.opcheck(torch.ops.gmcn.best_and_shares.default, (*scores_of(5, 4, grid), 1e-9))
    for squares in (False, True):
        checks.opcheck("sums_by_winner", *positions_of((2, 3, 4, 4), (2, 3), (1, 1)), 9, 2, 3, 1, 1, squares)


def test_what_does_not_fit_is_refused():
    scores, grid = scores_of(5, 4, True)
    x, winners, slopes = positions_of((2, 3, 4, 4), (2, 2), (1, 1))
    with pytest.raises(ValueError, match=r"scores must be \[M, K\] .* got \[5\]"):
        best_scores(scores[:, 0])
    with pytest.raises(ValueError, match=r"grid \[3, 4\] does not fit scores \[5, 4\]"):
        best_scores(scores, grid[:3])
    with pytest.raises(ValueError, match=r"grid .* and scores .* must have the same dtype"):
        best_scores(scores, grid.float())
    with pytest.raises(ValueError, match=r"windows \[3, 2\] in steps of \[1, 1\] do not fit x \[2, 3, 4, 4\]"):
        sums_by_winner(x, winners, slopes, 9, (3, 2))
    with pytest.raises(ValueError, match="do not fit x"):
        sums_by_winner(x[:1], winners, slopes, 9, (2, 2))
    with pytest.raises(ValueError, match=r"winners .* of int64 and slopes alike"):
        sums_by_winner(x, winners.int(), slopes, 9, (2, 2))
    with pytest.raises(ValueError, match=r"slopes .* and x .* must have the same dtype"):
        sums_by_winner(x, winners, slopes.float(), 9, (2, 2))
    for wrong in (-1, 9):
        winners[1, 0, 0] = wrong
        with pytest.raises(RuntimeError, match="a winner is no number of the 9 components"):
            sums_by_winner(x, winners, slopes, 9, (2, 2))
