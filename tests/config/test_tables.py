"""The tables of the configuration: the paper's rows, with the networks that they are about."""

from __future__ import annotations

import copy

import pytest

from gmcn import config
from gmcn.errors import InputError
from gmcn.models import GMCN
from gmcn.results.sample_settings import SampleSettings
from tests.config.examples import REAL

CLASSES = {"modelnet10": 10, "modelnet40": 40}
GAUSSIAN = 1 + 3 + 9  # numbers of a kernel's Gaussian in 3D: a weight, a position, a covariance factor


def rows(name: str) -> list[dict]:
    return config.tables.table_of(REAL, name)["rows"]


def counted() -> list:
    """Every row that says how many kernels and parameters its network has."""
    tables = ("table8", "table9", "table13", "table14")
    return [pytest.param(row, id=f"{name}-{row['variant']}") for name in tables for row in rows(name)]


@pytest.mark.parametrize("row", counted())
def test_kernels_and_parameters_are_the_papers_but_for_what_is_explained(row):
    network = config.resolve(REAL, row["dataset"], row["variant"])["network"]
    classes = CLASSES[row["dataset"]]
    model = GMCN(classes=classes, dim=3, seed=0, **network)
    kernels = sum(b.convolution.in_channels * b.convolution.out_channels for b in model.blocks)
    assert kernels == row["paper"]["kernels"]
    # The paper's: 65 per kernel and the scale of the input's norm. Ours: the norm of the output, two per class.
    assert row["paper"]["parameters"] == kernels * 5 * GAUSSIAN + 1
    assert sum(p.numel() for p in model.parameters()) == kernels * 5 * GAUSSIAN + 2 * classes


@pytest.mark.parametrize(
    ("name", "layouts"),
    [
        (
            "table8",
            [
                "1/128 → classes",
                "1/128 → 8/64 → classes",
                "1/128 → 8/64 → 16/32 → classes",
                "1/128 → 8/64 → 16/32 → 32/16 → classes",
                "1/128 → 8/64 → 16/32 → 32/16 → 64/8 → classes",
                "1/128 → 8/64 → 16/32 → 32/16 → 64/8 → 128/4 → classes",
            ],
        ),
        (
            "table9",
            [
                "1/128 → 8/64 → 16/32 → 32/16 → 64/8 → classes",
                "1/64 → 8/64 → 16/32 → 32/16 → 64/8 → classes",
                "1/32 → 8/64 → 16/32 → 32/16 → 64/8 → classes",
                "1/32 → 8/32 → 16/32 → 32/16 → 64/8 → classes",
                "1/16 → 8/64 → 16/32 → 32/16 → 64/8 → classes",
                "1/16 → 8/16 → 16/16 → 32/16 → 64/8 → classes",
                "1/16 → 8/8 → 16/4 → 32/2 → 64/2 → classes",
            ],
        ),
    ],
)
def test_layouts_are_the_papers(name, layouts):
    assert [row["label"] for row in rows(name)] == layouts


@pytest.mark.parametrize(
    ("name", "batch", "reductions"),
    [
        ("table8", {14}, {"treehem2"}),
        ("table9", {21}, {"treehem2"}),
        ("table10", {21}, {"em", "treehem2", "treehem4"}),
        ("table11", {21}, {"em", "treehem2", "treehem4"}),
        ("table12", {21}, {"treehem2"}),
        ("table13", {14, 21}, {"treehem2"}),
        ("table14", {14}, {"treehem2"}),
    ],
)
def test_settings_are_the_papers(name, batch, reductions):
    resolved = [config.resolve(REAL, row["dataset"], row["variant"]) for row in rows(name)]
    assert {settings["training"]["batch_size"] for settings in resolved} == batch
    assert {settings["network"]["reduction"] for settings in resolved} == reductions
    for settings in resolved:
        training = settings["training"]
        assert (training["epochs"], training["kernel_decay"], training["schedule"]) == (60, 0.1, "plateau")
        assert training["learning_rate"] == 1e-3
        assert training.get("augmentation") is None
        assert training["validation_fraction"] > 0


def test_both_families_differ_in_the_learning_rate_alone():
    paper, best = (config.resolve(REAL, "modelnet10", name) for name in ("paper", "best"))
    changed = {key for key in paper["training"] if paper["training"][key] != best["training"][key]}
    assert changed == {"schedule", "warmup_epochs"}
    assert {key: paper[key] for key in ("fit", "network")} == {key: best[key] for key in ("fit", "network")}


def test_what_is_fitted_at_nodes():
    """Ours, and never a result that stands for the paper's or has a pretrained network."""
    exact = [("modelnet10", "paper"), ("digits", "treehem2"), ("modelnet10", "small"), ("modelnet10", "best")]
    assert all(config.resolve(REAL, *names)["network"].get("fit_at") is None for names in exact)
    nodes = [config.resolve(REAL, "modelnet10", name)["network"]["fit_at"] for name in ("treehem2", "fast-small")]
    assert min(nodes) >= 2  # the first one's name promises a reduction


def test_tables_10_and_12_have_the_papers_inputs():
    assert {config.resolve(REAL, "modelnet10", row["variant"])["fit"] for row in rows("table10")} == {"kmeans64"}
    fits = [config.resolve(REAL, "modelnet10", row["variant"])["fit"] for row in rows("table12")]
    assert fits == ["kmeans128", "em128", "random128", "eckart125"]


@pytest.mark.parametrize("name", REAL["tables"])
def test_notes_say_what_rows_do_not_have_in_common(name):
    table = config.tables.table_of(REAL, name)
    notes = " ".join(table["notes"])
    if {"js", "repeats"} & set(table["columns"]):
        given = [config.resolve(REAL, row["dataset"], row["variant"]) for row in table["rows"] if "variant" in row]
        counts = {own.get("samples", {}).get("count", SampleSettings().count) for own in given}
        assert len(counts) == 1 or all(f"with {count:,}" in notes for count in counts)
    if any(row.get("rival") == "generation-training" for row in table["rows"]):
        assert "± of training objects as samples is over five sets" in notes


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"rows": [{"variant": "papr"}]}, "unknown variant 'papr'; did you mean 'paper'?"),
        ({"rows": [{"variant": "paper", "dataset": "digit"}]}, "unknown data set 'digit'; did you mean 'digits'?"),
        ({"dataset": "digit"}, "unknown data set 'digit'"),
        (
            {"columns": ["acuracy"]},
            "unknown column of results 'acuracy'; did you mean 'accuracy'? (known: accuracy, class_accuracy, ",
        ),
        ({"columns": ["seconds"]}, "unknown column of results 'seconds'"),
        ({"rows": [{"variant": "paper", "paper": {"acc": 1}}]}, "unknown column of results 'acc'"),
        (
            {"rows": [{"rival": "ntkk"}]},
            "'tables.table9.rows.0.rival' is 'ntkk', but must be one of nearest-neighbour, ",
        ),
        ({"rows": [{"rival": "ntk", "dataset": "digit"}]}, "unknown data set 'digit'"),
        ({"rows": [{"rival": "ntk", "variant": "paper"}]}, "variant"),
        ({"rows": [{"label": "neither"}]}, "variant"),
        ({"rows": [{"layer": 1, "label": "first"}]}, "unknown key 'tables.table9.rows.0.layer'"),
        ({"kind": "footprint"}, "unknown key 'tables.table9.dataset'"),
        ({"kind": "footprint", "dataset": None}, "the key 'fused' is missing in 'tables.table9'"),
        (
            {"kind": "footprint", "dataset": None, "fused": True, "columns": ["mib2d"]}
            | {"rows": [{"label": "a", "layer": 1, "variant": "paper"}]},
            "the key 'dataset' is missing in 'tables.table9.rows.0', which goes with 'variant'",
        ),
        (
            {"kind": "footprint", "dataset": None, "fused": True, "columns": ["mib2d"]}
            | {"rows": [{"label": "a", "layer": "measured"}]},
            "a row of what was measured names no data set and variant",
        ),
        ({"kind": "result"}, "must be one of results, footprint, least-squares"),
    ],
)
def test_what_a_table_cannot_say_is_refused_in_one_sentence(change, part):
    raw = copy.deepcopy(REAL)
    table = {**raw["tables"]["table9"], **change}
    raw["tables"] = {"table9": {key: value for key, value in table.items() if value is not None}}
    with pytest.raises(InputError) as error:
        config.check(raw)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_row_without_a_data_set_is_refused():
    raw = copy.deepcopy(REAL)
    raw["tables"] = {"mine": {"title": "Mine", "columns": ["accuracy"], "rows": [{"variant": "paper"}]}}
    with pytest.raises(InputError, match=r"a row names no data set.* in config\.yaml at tables\.mine"):
        config.check(raw)
