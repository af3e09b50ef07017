"""Annealing on a torus: neighbourhoods, and the controllers against traces of their rules by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gmcn import ranks
from gmcn.errors import InputError
from gmcn.nn.annealing import Annealing, AnnealingSettings


def after(settings: AnnealingSettings, values: list[float]) -> list[float]:
    """σ after windows with these objectives."""
    annealing, found = Annealing(16, settings), []
    for value in values:
        annealing.window_(value)
        found.append(annealing.sigma)
    return found


def test_neighbourhoods_wrap_around_and_have_the_mass_one():
    annealing = Annealing(9, AnnealingSettings(sigma=0.8))
    scores = torch.eye(9)[None, :, :, None]  # position j has a score of 1 at component j
    smoothed = torch.stack([annealing.objective(scores[:, :, j : j + 1]) for j in range(9)])
    weight = [math.exp(-squares / (2 * 0.8**2)) for squares in (0, 1, 2)]
    expected = 1 / (weight[0] + 4 * weight[1] + 4 * weight[2])  # on a torus of 3 x 3 all others are neighbours
    torch.testing.assert_close(smoothed.flatten(), torch.full((9,), expected))


def test_a_small_sigma_gives_the_best_component():
    scores = torch.randn(3, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    assert Annealing(16, AnnealingSettings(sigma=0.01)).objective(scores).equal(scores.amax(1))
    almost = Annealing(16, AnnealingSettings(sigma=0.12)).objective(scores)
    torch.testing.assert_close(almost, scores.amax(1))


def test_it_starts_as_the_authors_do():
    assert Annealing(25).sigma == pytest.approx(0.25 * math.sqrt(50))
    assert Annealing(7, AnnealingSettings(controller="none")).sigma == 0.01


def test_ratio():
    # Growth so far is 10, 14, 14.4, 14.5 ...; that of the next window over it is 0.4, 0.0286, 0.0069, -0.207, -0.0087.
    start = Annealing(16).sigma
    found = after(AnnealingSettings(), [0, 10, 14, 14.4, 14.5, 11.5, 11.4])
    reductions = [0, 0, 0, 1, 2, 2, 3]
    assert found == pytest.approx([start * 0.9**many for many in reductions])


def test_ratio_with_another_delta_and_no_growth():
    settings = AnnealingSettings(delta=0.5)
    assert after(settings, [1, 1, 1])[-1] == Annealing(16).sigma  # 0 / 0 says nothing
    assert after(settings, [0, 10, 14])[-1] == pytest.approx(0.9 * Annealing(16).sigma)


def test_slope():
    # The first slope is 10. Of the next, 6 is above half of it and 4 is not; then 3 is the first slope, and so on.
    start = Annealing(16).sigma
    found = after(AnnealingSettings(controller="slope"), [0, 10, 16, 20, 23, 25, 26])
    reductions = [0, 0, 0, 1, 1, 1, 2]
    assert found == pytest.approx([start * 0.9**many for many in reductions])


def test_sigma_and_the_rate_have_floors():
    annealing = Annealing(16, AnnealingSettings(floor=0.9, rate_floor=0.95))
    for value in (0, 10, *[10.01] * 20):
        annealing.window_(value)
    assert (annealing.sigma, annealing.rate) == (0.9, 0.95)


def test_exponential_between_30_and_80_percent():
    annealing = Annealing(25, AnnealingSettings(controller="exponential", rate_floor=0.5))
    found = {}
    for done in (0.0, 0.3, 0.55, 0.8, 1.0):
        annealing.step_(done)
        found[done] = annealing.sigma
    start = 0.25 * math.sqrt(50)
    assert found == pytest.approx({0.0: start, 0.3: start, 0.55: math.sqrt(start * 0.01), 0.8: 0.01, 1.0: 0.01})
    assert annealing.rate == pytest.approx(0.5)


def test_a_window_is_the_mean_of_its_positions():
    annealing, seen = Annealing(4, AnnealingSettings(window=2, sigma=0.01)), []
    annealing.window_ = seen.append
    for count, value in ((1, 1.0), (3, 5.0), (2, 7.0), (2, 9.0)):
        annealing.objective(torch.full((count, 4, 1, 1), value))
        annealing.step_(0.0)
    assert seen == [4.0, 8.0]
    annealing.eval()
    annealing.objective(torch.zeros(1, 4, 1, 1))
    assert annealing.state[annealing.COUNT] == 0, "what is only looked at does not count"


def test_a_window_holds_what_all_ranks_saw(monkeypatch):
    """At every step: a checkpoint keeps the window of one of them for all."""
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "total", lambda tensor: 2 * tensor)
    annealing = Annealing(4, AnnealingSettings(window=5))
    annealing.objective(torch.full((3, 4, 1, 1), 1.5))
    annealing.step_(0.0)
    assert annealing.state[annealing.SUM : annealing.COUNT + 1].tolist() == pytest.approx([9.0, 6.0])


def test_usage_tells_components_that_nothing_is_nearest_to():
    annealing = Annealing(4, AnnealingSettings(sigma=0.01))
    for _ in range(2000):
        annealing.objective(torch.tensor([[3.0, 1, 0, 0], [1, 3, 0, 0]])[..., None, None])
        annealing.step_(0.0)
    assert annealing.usage.tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=2e-3)


def test_components_that_are_no_square():
    with pytest.raises(InputError, match="7 components make no square torus: take 4 or 9, or anneal with"):
        Annealing(7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_counts_stays_in_double_precision(dtype):
    annealing = Annealing(9)
    sigma = annealing.sigma
    annealing.to(dtype)
    assert annealing.state.dtype == torch.float64
    assert annealing.sigma == sigma
