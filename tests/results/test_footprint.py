"""Memory in theory and measured."""

from __future__ import annotations

import json

import pytest
import torch

from gmcn.artifacts import save_tensors
from gmcn.errors import InputError
from gmcn.models import build, describe
from gmcn.results import footprint
from gmcn.results.allocations import peak_of_allocations
from gmcn.results.footprint_theory import theoretical_footprint
from gmcn.results.measured_memory import measure_training_step, prepared_batch
from tests.training.conftest import NETWORK

PAPER = {"layers": [[8, 64], [16, 32], [32, 16], [64, 8]], "classes": 10, "dim": 3, "kernel_components": 5}
MIB = 2**20

# F_o: K, D, G, MiB in 2D, MiB in 3D
TABLE_5 = {
    8: (40, 49_152, 98_384, 2.25, 3.75),
    16: (640, 49_152, 99_584, 2.28, 3.80),
    32: (2_560, 49_152, 103_424, 2.37, 3.95),
    64: (10_240, 49_152, 118_784, 2.72, 4.53),
    10: (3_200, 3_840, 14_080, 0.32, 0.54),
}
TABLE_6 = {
    8: (40, 180_224, 360_528, 8.25, 13.75),
    16: (640, 1_327_104, 2_655_488, 60.78, 101.30),
    32: (2_560, 2_637_824, 5_280_768, 120.87, 201.45),
    64: (10_240, 5_259_264, 10_539_008, 241.22, 402.03),
    10: (3_200, 820_480, 1_647_360, 37.71, 62.84),
}


@pytest.mark.parametrize(("table", "fused"), [(TABLE_5, True), (TABLE_6, False)])
@pytest.mark.parametrize(("dim", "column"), [(2, 3), (3, 4)])
def test_tables_5_and_6_of_the_paper(table, fused, dim, column):
    footprint = theoretical_footprint({**PAPER, "dim": dim}, components=128, batch_size=32, fused=fused)
    rows = {layer["F_o"]: layer for layer in footprint["layers"]}
    assert list(rows) == list(table)
    for channels, (kernels, data, gaussians, *_) in table.items():
        layer = rows[channels]
        assert (layer["K"], layer["D"], layer["G"]) == (kernels, data, gaussians)
        assert layer["bytes"] / MIB == pytest.approx(table[channels][column], abs=0.006)


def test_totals_of_appendix_a():
    fused = theoretical_footprint(PAPER, components=128, batch_size=32, fused=True)
    assert fused["gaussians"] == 434_256
    assert fused["bytes"] / MIB == pytest.approx(16.6, abs=0.05)
    unfused = theoretical_footprint(PAPER, components=128, batch_size=32, fused=False)
    assert unfused["bytes"] / MIB == pytest.approx(781.4, abs=0.05)


def test_a_layer_at_nodes_stores_those():
    network = {"layers": [[2, 4], [2, 2]], "classes": 3, "kernel_components": 3, "fit_at": 2, "fit_at_last": 500}
    layers = theoretical_footprint({**network, "dim": 2, "fit_at_least": 5}, components=8, batch_size=1, fused=False)
    assert [layer["N_o"] for layer in layers["layers"]] == [8, 5, 2 * 2 * 3]
    assert [layer["N_p"] for layer in layers["layers"]] == [4, 2, 1]


def test_what_skips_a_layer_goes_into_the_next_one():
    network = {"layers": [[2, 4], [3, 2]], "classes": 3, "dim": 2, "kernel_components": 1, "skip": True}
    layers = theoretical_footprint(network, components=8, batch_size=1, fused=False)["layers"]
    assert [layer["F_i"] for layer in layers] == [1, 1 + 2, 1 + 2 + 3]
    assert [layer["D"] for layer in layers] == [2 * 8 + 3 * 4, 3 * 3 * 4 + 6 * 2, 3 * 6 * 2 + 3 * 1]


def test_without_reduction_everything_convolved_goes_on():
    network = {"layers": [[2, 4]], "classes": 3, "dim": 2, "kernel_components": 3, "reduction": "none"}
    first, last = theoretical_footprint(network, components=8, batch_size=1, fused=False)["layers"]
    assert (first["N_o"], first["N_p"]) == (24, 24)
    assert last["N_i"] == 24
    assert last["N_o"] == 24 * 2 * 3


def test_measured_peak_counts_tensors_only():
    def allocate():
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        second = torch.empty(2 * MIB, dtype=torch.uint8)
        del first
        third = torch.empty(MIB, dtype=torch.uint8)
        _ = bytes(8 * MIB)
        return second, third

    assert peak_of_allocations(allocate) == pytest.approx(5 * MIB, rel=0.01)


def test_measured_peak_of_a_step_grows_with_the_batch(variant):
    network = {**NETWORK, "classes": 3, "dim": 2}
    peaks = [
        measure_training_step(variant.mixtures, network, batch_size=size, device=torch.device("cpu"))["bytes"]
        for size in (4, 64)
    ]
    assert 4 < peaks[1] / peaks[0] < 17


def test_a_step_in_parts_takes_less(variant):
    network = {**NETWORK, "classes": 3, "dim": 2}
    cpu, peaks = torch.device("cpu"), []
    for parts in (1, 8):
        training = {"batch_size": 64, "micro_batches": parts}
        peaks.append(measure_training_step(variant.mixtures, network, batch_size=64, device=cpu, training=training))
    assert peaks[1]["bytes"] < 0.6 * peaks[0]["bytes"]


@pytest.mark.parametrize(("task", "rows"), [("generation", 20 + 50), ("registration", 20 + 50 + 3)])
def test_a_step_is_measured_on_what_training_prepares(clouds, task, rows):
    inputs, labels = prepared_batch(clouds[0], task, {"views": {"points": 20}}, 14)  # of 12 that there are
    assert inputs.shape == (14, rows, 3)
    assert labels.tolist() == [0, 1] * 7


def test_the_more_points_a_network_sees_the_more_memory_is_measured(clouds, tmp_path):
    network = build({"kind": "pointgmm", "latent": 6, "width": 16, "splits": 1, "encoder": [8, 64]}, seed=0)
    model = tmp_path / "model.safetensors"
    save_tensors(model, {}, {"network": describe(network)})
    options = {"models": [model], "output": tmp_path / "footprint.json", "device": "cpu"}
    peaks = []
    for seen in (10, 40):
        settings = {"task": "generation", "training": {"batch_size": 12, "views": {"points": seen}}}
        peaks.append(footprint(clouds[0], settings=settings, **options)["measured"]["bytes"])
    assert peaks[0] < peaks[1]


def test_a_step_that_cannot_be_measured_is_one_sentence(variant):
    network = {**NETWORK, "classes": 3, "dim": 3}
    with pytest.raises(
        InputError, match=r"a training step with batch_size 4 could not be measured on cpu \(.*3"
    ) as info:
        measure_training_step(variant.mixtures, network, batch_size=4, device=torch.device("cpu"))
    assert "\n" not in str(info.value)


def test_footprint_file(variant):
    result = json.loads((variant.runs / "footprint.json").read_text())
    assert (result["components"], result["dim"]) == (8, 2)
    assert result["theory"]["unfused"]["batch_size"] == result["measured"]["batch_size"] == 8
    assert result["paper"]["fused"]["batch_size"] == 32
    measured = result["measured"]
    # Theory counts no Adam, logits or caches; a step cannot do with less than the data of its own largest layer.
    assert measured["bytes"] > 0.5 * result["theory"]["unfused"]["bytes"]
    assert measured["bytes"] < 100 * result["theory"]["unfused"]["bytes"]
    assert result["ratio"]["fused"] == measured["bytes"] / result["theory"]["fused"]["bytes"]
    logged = {name for _, metrics in variant.recorders["footprint"].metrics for name in metrics}
    assert {"memory/measured_bytes", "memory/fused_bytes", "memory/ratio_unfused"} <= logged
