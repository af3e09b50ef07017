"""Measures of sets of clouds, by their definitions on all pairs."""

from __future__ import annotations

import math

import pytest
import torch

from gmcn.errors import InputError
from gmcn.results.cloud_sets import Reference, compare_sets
from gmcn.tasks.generation.measures_of_clouds import chamfer, earth_movers
from tests.tasks.generation.test_clouds import shapes

SETS = {name: shapes(count, 30, seed) for seed, (name, count) in enumerate({"reference": 8, "training": 11}.items())}
SAMPLES = shapes(6, 30, seed=2)


def every(function, first, second):  # [A, M, 3], [C, M, 3] -> [A, C]
    return torch.stack([function(cloud.expand(len(second), -1, -1), second) for cloud in first])


@pytest.mark.parametrize(("name", "function"), [("chamfer", chamfer), ("emd", earth_movers)])
@pytest.mark.parametrize("samples", [SAMPLES, torch.cat([SAMPLES, SETS["reference"][:3]])])
def test_measures_by_all_pairs(name, function, samples):
    found = compare_sets(samples, **SETS)
    cross = every(function, samples, SETS["reference"])
    n = len(samples)
    assert found[f"mmd_{name}"] == pytest.approx(cross.amin(0).mean().item(), rel=1e-9)
    assert found[f"coverage_{name}"] == len(cross.argmin(1).unique()) / 8
    both = torch.cat([samples, SETS["reference"]])
    among = every(function, both, both).fill_diagonal_(torch.inf)
    # What is as near to both sets is told apart from neither.
    nearer = torch.stack([among[:, :n].amin(1), among[:, n:].amin(1)])
    nearer[:, n:] = nearer[:, n:].flip(0)
    right = nearer[0] < nearer[1] - 1e-9
    assert found[f"nna_{name}"] == pytest.approx(right.double().mean().item())


def test_copies_are_nearer_than_test_objects():
    found = compare_sets(SAMPLES, **SETS)
    nearest = [every(chamfer, one, SETS["training"]).amin(1) for one in (SAMPLES, SETS["reference"])]
    medians = [one.double().quantile(0.5).item() for one in nearest]
    assert found["to_training"] == pytest.approx(medians[0])
    assert found["test_to_training"] == pytest.approx(medians[1])
    assert found["copies"] == pytest.approx(medians[0] / medians[1])
    assert compare_sets(SETS["training"][:5], **SETS)["copies"] == 0
    assert compare_sets(SAMPLES, SETS["reference"], SETS["reference"])["copies"] is None


def test_the_divergence_of_a_grid():
    assert compare_sets(SETS["reference"].flip(0), **SETS)["jsd"] == 0
    corners = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, 1, -1], [-1, 1, 1]])[:, None].expand(4, 8, 3)
    # Half of the points lie in cells of their own: a bit for these.
    found = compare_sets(corners[[0, 1]], corners[[1, 2]], corners)
    assert found["jsd"] == pytest.approx(0.5)
    assert compare_sets(corners[:2], corners[2:], corners)["jsd"] == pytest.approx(1.0)
    # What is further out is in the outermost cell.
    assert compare_sets(3 * corners, corners, corners)["jsd"] == 0


def test_a_set_of_the_same_and_a_set_of_others():
    same = compare_sets(SETS["reference"], **SETS)
    assert (same["nna_chamfer"], same["nna_emd"], same["mmd_emd"]) == (0, 0, 0)
    assert (same["coverage_chamfer"], same["coverage_emd"]) == (1, 1)
    far = compare_sets(SAMPLES + 5, **SETS)
    assert (far["nna_chamfer"], far["nna_emd"]) == (1, 1)
    assert far["coverage_emd"] <= 6 / 8


def test_sizes_repeats_and_progress():
    told = []
    reference = Reference(**SETS, emd_points=12)
    first = reference.compare(SAMPLES, told.append)
    assert sum(told) == reference.searches(6)
    assert reference.compare(SAMPLES) == first
    sizes = {"samples": 6, "reference": 8, "training": 11, "points": 30, "emd_points": 12}
    assert first.items() >= sizes.items()
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in first.values())
    # The points of the earth mover's distance are no matter of the order in which they are stored.
    rows = reference.rows["emd"]
    assert first["mmd_emd"] == compare_sets(*(one[:, rows] for one in (SAMPLES, *SETS.values())))["mmd_emd"]


def test_clouds_of_another_size():
    with pytest.raises(InputError, match=r"the samples have 20 points, but .* have 30; .*give as many"):
        compare_sets(SAMPLES[:, :20], **SETS)
    with pytest.raises(InputError, match="the training objects have 29 points"):
        compare_sets(SAMPLES, SETS["reference"], SETS["training"][:, 1:])
