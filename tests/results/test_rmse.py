"""Errors of the fits."""

from __future__ import annotations

import json
import math

import pytest
import torch

import gmcn
from gmcn import ops
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.models import GMCN
from gmcn.results import probe
from gmcn.results.networks import load_networks
from gmcn.results.probing import probe_network
from gmcn.results.rmse import ErrorSum, random_positions
from tests.nn.workload import random_mixture
from tests.ops.golden import standardised_mse
from tests.training.conftest import Recorder


def test_standardised_mse_is_the_authors_formula():
    generator = torch.Generator().manual_seed(0)
    truth = 3 + 2 * torch.randn(2, 4, 30, generator=generator, dtype=torch.float64)
    estimate = truth + torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    mean, deviation = truth.mean(), truth.std(unbiased=True)
    expected = (((truth - mean) / deviation - (estimate - mean) / deviation) ** 2).mean()
    assert standardised_mse(truth, estimate).item() == pytest.approx(expected.item(), rel=1e-12)
    # The scale of a function does not matter, its offset neither.
    assert standardised_mse(7 * truth - 1, 7 * estimate - 1).item() == pytest.approx(expected.item(), rel=1e-12)


def test_sums_over_batches_equal_one_tensor():
    generator = torch.Generator().manual_seed(1)
    # A mean far above the deviation: sums of squares would cancel in float32.
    truth = 1000 + torch.randn(50, 7, generator=generator)
    estimate = truth + 0.1 * torch.randn(50, 7, generator=generator)
    errors = ErrorSum()
    for start, end in ((0, 1), (1, 20), (20, 50)):
        errors.add(truth[start:end], estimate[start:end])
    result = errors.result()
    truth, estimate = truth.double(), estimate.double()
    assert errors.count == 350
    assert result["rmse"] == pytest.approx((truth - estimate).square().mean().sqrt().item(), rel=1e-12)
    assert result["standardised"] == pytest.approx(standardised_mse(truth, estimate).sqrt().item(), rel=1e-9)


def test_a_constant_truth_cannot_be_standardised():
    errors = ErrorSum()
    errors.add(torch.zeros(5), torch.ones(5))
    assert errors.result() == {"rmse": 1.0, "standardised": None}


def test_positions_fill_the_box_of_one_deviation():
    positions = torch.tensor([[[[0.0, 0.0], [4.0, 1.0]]]])
    covariances = torch.diag_embed(torch.tensor([[[[1.0, 4.0], [9.0, 1.0]]]]))
    points = random_positions(positions, covariances, 4000, torch.Generator().manual_seed(0))[0, 0]
    assert torch.allclose(points.amin(0), torch.tensor([-1.0, -2.0]), atol=0.02)
    assert torch.allclose(points.amax(0), torch.tensor([7.0, 2.0]), atol=0.02)
    assert torch.allclose(points.mean(0), torch.tensor([3.0, 0.0]), atol=0.1)


def test_every_layer_agrees_with_a_direct_computation(variant):
    """The same quantity by other random positions, to the precision that so many of them have."""
    model = gmcn.load(variant.runs, seed=0)
    mixture = read_split(variant.mixtures, TEST).inputs
    data = model.normalize_input(mixture)
    for block, layer in zip(model.blocks, probe_network(model, mixture, 40_000, seed=1), strict=True):
        with torch.no_grad():
            convolved, fitted, reduced = block.stages(data)
            generator = torch.Generator().manual_seed(5)
            points = random_positions(convolved.positions, convolved.covariances, 1500, generator)
            truth = ops.reference.evaluate(convolved, points).relu()
            dense, sparse = ops.reference.evaluate(fitted, points), ops.reference.evaluate(reduced, points)
            data = block(data)
        for kind, pair in {"all": (truth, sparse), "relu": (truth, dense), "reduction": (dense, sparse)}.items():
            assert layer[kind]["standardised"] == pytest.approx(standardised_mse(*pair).sqrt().item(), rel=0.05)
            assert layer[kind]["rmse"] == pytest.approx((pair[0] - pair[1]).square().mean().sqrt().item(), rel=0.05)
        assert layer["relu"]["rmse"] > 1e-4


def test_a_fitted_convolution_is_measured_against_the_exact_one(variant):
    model = gmcn.load(variant.runs, seed=0)
    mixture = read_split(variant.mixtures, TEST).inputs
    data = model.normalize_input(mixture)
    block = model.blocks[0]
    block.convolve_fit = 2
    layer = probe_network(model, mixture, 40_000, seed=1)[0]
    with torch.no_grad():
        truth = block.convolve(data)
        points = random_positions(truth.positions, truth.covariances, 1500, torch.Generator().manual_seed(5))
        error = ops.evaluate(truth, points).relu() - ops.evaluate(block.stages(data)[1], points)
    assert layer["relu"]["rmse"] == pytest.approx(error.square().mean().sqrt().item(), rel=0.05)


def test_what_skips_a_layer_reaches_the_next_one():
    model = GMCN([[2, 4], [3, 2]], 3, seed=0, skip=True)
    layers = probe_network(model, random_mixture(4, 8, dtype=torch.float32), 50, seed=1)
    assert [layer["layer"] for layer in layers] == ["1 -> 2", "3 -> 3", "6 -> 3"]


@pytest.mark.parametrize("option", ["fit_at", "convolve_fit"])
def test_the_exact_fit_stands_beside_another(variant, option):
    """That of the same functions: what the layer has without the option."""
    model = gmcn.load(variant.runs, seed=0)
    mixture = read_split(variant.mixtures, TEST).inputs
    wanted = probe_network(model, mixture, 2_000, seed=1)
    assert all("exact" not in layer for layer in wanted)
    setattr(model.blocks[0], option, 6)
    first, last = probe_network(model, mixture, 2_000, seed=1)
    assert first["exact"] == {kind: wanted[0][kind] for kind in ("all", "relu", "reduction")}
    assert first["relu"]["rmse"] > first["exact"]["relu"]["rmse"]
    assert "exact" not in last


def test_exact_errors_are_averaged_and_logged(variant, tmp_path, monkeypatch):
    def at_nodes(*arguments):
        networks = load_networks(*arguments)
        for network in networks:
            network.model.blocks[0].fit_at = 6
        return networks

    monkeypatch.setattr("gmcn.results.probing.load_networks", at_nodes)
    run = Recorder()
    settings, output = {"positions": 500, "shapes": 5}, tmp_path / "rmse.json"
    result = probe(variant.mixtures, models=variant.models, settings=settings, output=output, device="cpu", run=run)
    exact = [seed["layers"][0]["exact"]["all"]["rmse"] for seed in result["seeds"].values()]
    assert result["mean"]["layers"][0]["exact"]["all"]["rmse"] == pytest.approx(sum(exact) / 2)
    logged = [metrics.get("rmse/exact/all/rmse") for _, metrics in run.metrics]
    assert logged == [result["mean"]["layers"][0]["exact"]["all"]["rmse"], None]


def test_rmse_file(variant):
    result = json.loads((variant.runs / "rmse.json").read_text())
    assert list(result["seeds"]) == ["0", "1"]
    layers = result["mean"]["layers"]
    assert [layer["layer"] for layer in layers] == ["1 -> 2", "2 -> 3"]
    assert all(layer["positions"] >= 500 for layer in layers)
    assert layers[0]["all"]["rmse"] > 0
    assert layers[-1]["reduction"]["rmse"] == 0, "the last layer is not reduced"
    errors = [seed["layers"][0]["all"]["rmse"] for seed in result["seeds"].values()]
    assert layers[0]["all"]["rmse"] == pytest.approx(sum(errors) / 2)
    assert result["std"]["layers"][0]["all"]["rmse"] == pytest.approx(abs(errors[0] - errors[1]) / math.sqrt(2))
    logged = [metrics["rmse/all/standardised"] for _, metrics in variant.recorders["probe"].metrics]
    assert logged == [layer["all"]["standardised"] for layer in layers]


def test_probe_is_reproducible_and_refuses_unknown_settings(variant, tmp_path):
    arguments = {"models": variant.models, "device": "cpu", "output": tmp_path / "rmse.json"}
    again = probe(variant.mixtures, settings={"positions": 500, "shapes": 5}, **arguments)
    assert again["mean"] == json.loads((variant.runs / "rmse.json").read_text())["mean"]
    with pytest.raises(InputError, match="did you mean 'positions'"):
        probe(variant.mixtures, settings={"position": 500}, **arguments)
