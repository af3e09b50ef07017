"""The section ``tables`` of the configuration: what each table shows, and from which files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from gmcn import tasks
from gmcn.config.resolving import DEFAULT_KIND, dataset, fit, kind_of, resolve
from gmcn.config.sections import FOLD, RIVALS
from gmcn.errors import InputError, unknown
from gmcn.stages.paths import PATHS
from gmcn.tasks import DEFAULT_TASK
from gmcn.tasks.metric import Metric

LEAST_SQUARES = PATHS["least-squares"]
# The columns of a table of results besides the metrics of tasks, and what their names look like.
COLUMNS = {
    "validation<epoch>": r"validation[1-9]\d*",
    **{f"rmse<layer>-{kind}": rf"rmse[1-9]-{kind}" for kind in ("all", "relu", "reduction")},
    **{name: name for name in ("kernels", "parameters", "gib", "minutes", "fit_likelihood", "fit_seconds")},
}
# Those of some task's results alone.
OF_TASKS = {
    "classification": ("voted", "voted_class_accuracy"),
    "density": ("dead", "js", "ndb", "repeats"),
    "generation": (
        *("jsd", "copies", "class_samples", "class_between", "class_blends", "class_test"),
        *(f"{name}_{distance}" for name in ("nna", "coverage", "mmd") for distance in ("chamfer", "emd")),
    ),
}


def check_tables(config: Mapping[str, Any], source: str) -> None:
    """Raise one sentence for the first table that names a variant, data set or column that does not exist."""
    for name in config.get("tables", {}):
        try:
            table = table_of(config, name)
        except InputError as error:
            raise InputError(f"{error} in {source} at tables.{name}") from None
        if table["kind"] != "results":
            continue
        metrics = measured(table)
        known = COLUMNS | {name: name for name in metrics} | {"worst-<metric>": f"worst-({'|'.join(metrics)})"}
        known |= {own: own for task in table["tasks"] for own in OF_TASKS.get(task, ())}
        for column in [*table["columns"], *(metric for row in table["rows"] for metric in row["paper"])]:
            if not any(re.fullmatch(pattern, column) for pattern in known.values()):
                raise InputError(f"{unknown('column of results', column, known)} in {source} at tables.{name}")


def table_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table with everything that is left out in the configuration.

    Every row has ``label`` and ``paper``; one that shows a result has ``dataset``, and ``variant`` or ``rival``.
    """
    tables = config.get("tables", {})
    if name not in tables:
        raise unknown("table", name, tables)
    table = tables[name]
    kind = table.get("kind", "results")
    if kind == "folds":
        return _folds(config, {"name": name, **table})
    rows, named = [], set()
    for given in table["rows"]:
        row = {"paper": {}, **given}
        if row.get("layer") == "measured" and "variant" not in row:
            raise InputError("a row of what was measured names no data set and variant")
        if kind == "results" and "dataset" not in row:
            if "dataset" not in table:
                raise InputError("a row names no data set, and neither does its table")
            row["dataset"] = table["dataset"]
        if "variant" in row:
            settings = resolve(config, row["dataset"], row["variant"])
            named.add(settings.get("task", DEFAULT_TASK))
            row.setdefault("label", _layout(config, row["variant"], settings))
        elif "rival" in row:
            dataset(config, row["dataset"])
            rival = RIVALS[row["rival"]]
            named.add(rival.task)
            row.setdefault("label", rival.label)
        rows.append(row)
    common = {"name": name, "title": table["title"], "kind": kind, "columns": list(table["columns"]), "rows": rows}
    common["tasks"] = sorted(named)
    more = {"fused": table["fused"]} if kind == "footprint" else {}
    return {**common, **more, "notes": list(table.get("notes", []))}


def _folds(config: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison over folds: what it needs to find its trainings, and to divide the data set as they do."""
    dataset(config, table["dataset"])
    rows = [{"label": row["variant"], "paper": {}, **row, "dataset": table["dataset"]} for row in table["rows"]]
    resolved = [resolve(config, row["dataset"], row["variant"]) for row in rows]
    for row, settings in zip(rows, resolved, strict=True):
        if (task := settings.get("task", DEFAULT_TASK)) != DEFAULT_TASK:
            raise InputError(f"a table of folds compares classifications, and {row['variant']} is of the task {task}")
    first = re.fullmatch(FOLD, table["columns"][0])
    if first is None or first[3]:
        raise InputError("the first column of a table of folds decides: it has to be fold_class_accuracy or such")
    duplicates = {settings["training"].get("fold_duplicates", "together") for settings in resolved}
    if len(duplicates) > 1:
        raise InputError("its variants have other folds: they differ in training.fold_duplicates")
    common = {key: table.get(key, default) for key, default in (("folds", 5), ("seeds", [0]), ("notes", []))}
    return {
        **{key: table[key] for key in ("name", "title", "kind", "columns", "dataset")},
        **common,
        "tasks": [DEFAULT_TASK],
        "duplicates": duplicates.pop(),
        "rows": [*rows, {"label": RIVALS["nearest-neighbour"].label, "paper": {}, "dataset": table["dataset"]}],
    }


def fold_file(table: Mapping[str, Any], row: Mapping[str, Any], fold: int | str, seed: int | str) -> str:
    """The path of the ``training.json`` of one fold, relative to the results."""
    variant = f"{row['variant']}-fold{fold}of{table['folds']}"
    return PATHS["training"].format(dataset=row["dataset"], variant=variant, seed=seed)


def points_file(table: Mapping[str, Any]) -> str:
    """The objects that the rival compares, below the results."""
    return PATHS["points"].format(**table)


def measured(table: Mapping[str, Any]) -> dict[str, Metric]:
    """By name, the metrics of the tasks whose results a table of results shows."""
    return {metric.name: metric for task in table["tasks"] for metric in tasks.measures(task).metrics}


def files_of(table: Mapping[str, Any]) -> list[str]:
    """All files below the results that a table shows, whether they exist or not."""
    if table["kind"] == "least-squares":
        return [LEAST_SQUARES]
    if table["kind"] == "folds":
        places = itertools.product(range(1, table["folds"] + 1), table["seeds"])
        own = [fold_file(table, row, *place) for place in places for row in table["rows"] if "variant" in row]
        return [*own, points_file(table)]
    return list(dict.fromkeys(result_file(row) for row in table["rows"] if "variant" in row or "rival" in row))


def result_file(row: Mapping[str, Any]) -> str:
    """The path of what a row shows of a variant or a rival, relative to the results."""
    return PATHS["rival" if "rival" in row else "result"].format(**row)


def _layout(config: Mapping[str, Any], variant: str, settings: Mapping[str, Any]) -> str:
    """The network in the paper's notation: channels / Gaussians between the layers."""
    if kind_of(settings) != DEFAULT_KIND or settings["fit"] is None:
        return variant
    inner = [f"{channels}/{components}" for channels, components in settings["network"]["layers"]]
    components = fit(config, settings["fit"])["components"]
    return " → ".join([f"1/{components}", *inner, "classes"])
