"""The section ``tables`` of the configuration: what each table shows, and from which files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from gmcn.config.resolving import dataset, fit, resolve
from gmcn.errors import InputError, unknown

LEAST_SQUARES = "measurements/least-squares.json"
# Of the network that tables 5 and 6 are about; both are computed from formulas alone.
FOOTPRINT = {
    "network": {"layers": [[8, 64], [16, 32], [32, 16], [64, 8]], "classes": 10, "kernel_components": 5},
    "components": 128,
    "batch_size": 32,
}
RIVAL = "nearest neighbour"  # the last row of every comparison over folds
# The columns that a kind of table can have.
COLUMNS = {
    "results": r"accuracy|class_accuracy|loss|validation\d+|rmse\d-(all|relu|reduction)|kernels|parameters|gib|minutes",
    "footprint": r"kernel-gaussians|data-gaussians|gaussians|mib2d|mib3d",
    "least-squares": r"seconds|rmse|standardised-rmse",
    "folds": r"fold_(class_)?(accuracy|loss)(_difference)?|training_seconds|parameters|verdict",
}


def check_tables(config: Mapping[str, Any], source: str) -> None:
    """Raise one sentence for the first table that names a variant, data set or column that does not exist."""
    for name in config.get("tables", {}):
        try:
            table = table_of(config, name)
        except InputError as error:
            raise InputError(f"{error} in {source} at tables.{name}") from None
        for column in [*table["columns"], *(metric for row in table["rows"] for metric in row["paper"])]:
            if not re.fullmatch(COLUMNS[table["kind"]], column):
                raise InputError(f"a table of {table['kind']} has no column '{column}' in {source} at tables.{name}")


def table_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table with everything that is left out in the configuration.

    Every row has ``label`` and ``paper``; one that shows a result has ``dataset`` and ``variant``.
    """
    tables = config.get("tables", {})
    if name not in tables:
        raise unknown("table", name, tables)
    table = tables[name]
    kind = table.get("kind", "results")
    if kind == "folds":
        return _folds(config, {"name": name, **table})
    rows = []
    for given in table["rows"]:
        row = {"paper": {}, **given}
        if kind == "results" and "dataset" not in row:
            if "dataset" not in table:
                raise InputError("a row names no data set, and neither does its table")
            row["dataset"] = table["dataset"]
        if "variant" in row:
            settings = resolve(config, row["dataset"], row["variant"])
            row.setdefault("label", _layout(config, row["variant"], settings))
        rows.append(row)
    common = {"name": name, "title": table["title"], "kind": kind, "columns": list(table["columns"]), "rows": rows}
    more = {**FOOTPRINT, "fused": table["fused"]} if kind == "footprint" else {}
    return {**common, **more, "notes": list(table.get("notes", []))}


def _folds(config: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison over folds: what it needs to find its trainings, and to divide the data set as they do."""
    dataset(config, table["dataset"])
    rows = [{"label": row["variant"], "paper": {}, **row, "dataset": table["dataset"]} for row in table["rows"]]
    resolved = [resolve(config, row["dataset"], row["variant"])["training"] for row in rows]
    if not re.fullmatch(r"fold_(class_)?(accuracy|loss)", table["columns"][0]):
        raise InputError("the first column of a table of folds decides: it has to be fold_class_accuracy or such")
    duplicates = {training.get("fold_duplicates", "together") for training in resolved}
    if len(duplicates) > 1:
        raise InputError("its variants have other folds: they differ in training.fold_duplicates")
    common = {key: table.get(key, default) for key, default in (("folds", 5), ("seeds", [0]), ("notes", []))}
    return {
        **{key: table[key] for key in ("name", "title", "kind", "columns", "dataset")},
        **common,
        "duplicates": duplicates.pop(),
        "rows": [*rows, {"label": RIVAL, "paper": {}, "dataset": table["dataset"]}],
    }


def fold_file(table: Mapping[str, Any], row: Mapping[str, Any], fold: int | str, seed: int | str) -> str:
    """What a training on one fold says of itself, below the results."""
    return f"runs/{row['dataset']}_{row['variant']}-fold{fold}of{table['folds']}/seed{seed}/training.json"


def points_file(table: Mapping[str, Any]) -> str:
    """The objects that the rival compares, below the results."""
    return f"points/{table['dataset']}.safetensors"


def files_of(table: Mapping[str, Any]) -> list[str]:
    """All files below the results that a table shows, whether they exist or not."""
    if table["kind"] == "least-squares":
        return [LEAST_SQUARES]
    if table["kind"] == "folds":
        places = itertools.product(range(1, table["folds"] + 1), table["seeds"])
        own = [fold_file(table, row, *place) for place in places for row in table["rows"] if "variant" in row]
        return [*own, points_file(table)]
    files = [f"{row['dataset']}_{row['variant']}.json" for row in table["rows"] if "variant" in row]
    return list(dict.fromkeys(files))


def _layout(config: Mapping[str, Any], variant: str, settings: Mapping[str, Any]) -> str:
    """The network in the paper's notation: channels / Gaussians between the layers."""
    if "layers" not in settings["network"]:
        return variant
    inner = [f"{channels}/{components}" for channels, components in settings["network"]["layers"]]
    components = fit(config, settings["fit"])["components"]
    return " → ".join([f"1/{components}", *inner, "classes"])
