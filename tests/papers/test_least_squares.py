"""The alternatives to the dense fit: solved, compared, timed."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn import ops
from gmcn.errors import InputError
from gmcn.papers.gmcn.least_squares import SOLVERS, gaussians_at, measure, positions_of, random_mixtures, solve


def test_the_matrix_holds_the_gaussians_of_weight_one():
    mixture = random_mixtures(2, 9, seed=3).to(torch.float64)
    points = torch.rand(2, 5, 2, dtype=torch.float64)
    values = (gaussians_at(mixture, points) @ mixture.weights[..., None]).squeeze(-1)
    torch.testing.assert_close(values, ops.evaluate(mixture, points))


@pytest.mark.parametrize("solver", ["pinv", "lstsq"])
def test_least_squares_meets_the_target_at_its_positions(solver):
    mixture = random_mixtures(2, 12, seed=1).to(torch.float64)
    fitted = solve(mixture, solver, mixture.positions)
    wanted = ops.evaluate(mixture, mixture.positions).clamp(min=0)
    torch.testing.assert_close(ops.evaluate(fitted, mixture.positions), wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(fitted.covariances, mixture.covariances)


def test_positions():
    mixture, generator = random_mixtures(2, 8, seed=0), torch.Generator().manual_seed(0)
    assert torch.equal(positions_of(mixture, "centres", generator), mixture.positions)
    both = positions_of(mixture, "both", generator)
    assert torch.equal(both[:, :8], mixture.positions)
    assert both.shape == (2, 16, 2)
    assert positions_of(mixture, "random", generator).shape == (2, 32, 2)
    with pytest.raises(InputError, match="unknown choice of positions 'grid'"):
        positions_of(mixture, "grid", generator)


def test_the_measurement_has_every_solver_and_choice(tmp_path):
    path = tmp_path / "least-squares.json"
    measure(settings={"mixtures": 20, "components": 16}, output=path, device="cpu")
    result = json.loads(path.read_text())
    expected = [(solver, choice) for solver, choices in SOLVERS.items() for choice in choices]
    assert [(entry["solver"], entry["positions"]) for entry in result["entries"]] == expected
    assert all(entry["seconds"] > 0 and entry["measured"] == 20 and entry["rmse"] > 0 for entry in result["entries"])


def test_a_solver_is_stopped_at_its_limit_and_scaled(tmp_path):
    settings = {"mixtures": 64, "components": 16, "limit": 1e-9}
    result = measure(settings=settings, output=tmp_path / "least-squares.json", device="cpu")
    assert {entry["measured"] for entry in result["entries"]} == {16}


def test_a_solver_that_gives_up_leaves_the_others_their_numbers(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise torch.linalg.LinAlgError("singular")

    monkeypatch.setattr(torch.linalg, "pinv", fails)
    settings = {"mixtures": 2, "components": 8}
    entries = measure(settings=settings, output=tmp_path / "least-squares.json", device="cpu")["entries"]
    assert [entry.get("error") for entry in entries] == ["singular"] * 3 + [None] * 4
    assert all((entry["rmse"] is None) == ("error" in entry) for entry in entries)


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(InputError, match="least_squares: unknown key 'mixture'; did you mean 'mixtures'"):
        measure(settings={"mixture": 3}, output=tmp_path / "x.json")
