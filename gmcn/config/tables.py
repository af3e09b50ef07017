"""The section ``tables`` of the configuration: what each table shows, and from which files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gmcn.config.resolving import DEFAULT_KIND, fit, kind_of, resolve
from gmcn.errors import InputError, unknown
from gmcn.stages.paths import PATHS

LEAST_SQUARES = PATHS["least-squares"]


def check_tables(config: Mapping[str, Any], source: str) -> None:
    """Raise one sentence for the first table that names a variant or data set that does not exist."""
    for name in config.get("tables", {}):
        try:
            table_of(config, name)
        except InputError as error:
            raise InputError(f"{error} in {source} at tables.{name}") from None


def table_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table with everything that is left out in the configuration.

    Every row has ``label`` and ``paper``; one that shows a result has ``dataset`` and ``variant``.
    """
    tables = config.get("tables", {})
    if name not in tables:
        raise unknown("table", name, tables)
    table = tables[name]
    kind = table.get("kind", "results")
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
    more = {"fused": table["fused"]} if kind == "footprint" else {}
    return {**common, **more, "notes": list(table.get("notes", []))}


def files_of(table: Mapping[str, Any]) -> list[str]:
    """All files below the results that a table shows, whether they exist or not."""
    if table["kind"] == "least-squares":
        return [LEAST_SQUARES]
    files = [PATHS["result"].format(**row) for row in table["rows"] if "variant" in row]
    return list(dict.fromkeys(files))


def _layout(config: Mapping[str, Any], variant: str, settings: Mapping[str, Any]) -> str:
    """The network in the paper's notation: channels / Gaussians between the layers."""
    if kind_of(settings) != DEFAULT_KIND or settings["fit"] is None:
        return variant
    inner = [f"{channels}/{components}" for channels, components in settings["network"]["layers"]]
    components = fit(config, settings["fit"])["components"]
    return " → ".join([f"1/{components}", *inner, "classes"])
