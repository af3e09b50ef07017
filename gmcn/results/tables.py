"""The stage `table`: the paper's values beside ours, from whatever results there are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import read_json, write_text
from gmcn.config.tables import LEAST_SQUARES, result_file
from gmcn.errors import InputError, foreign
from gmcn.results.footprint_theory import PAPER, theoretical_footprint
from gmcn.results.metrics import column, device_of
from gmcn.results.reading import at, read_result
from gmcn.results.table import Cell, Row, Table
from gmcn.results.table_formats import csv_text, markdown, page, tex

MIB = 2**20
FOLDS = (
    "Validation over all folds of the training split, each object judged once by a network that has not "
    "seen it{copies}; ± is the standard error over objects, of differences from the first row that of the paired "
    "difference. A difference in the first column of less than two standard errors is none; of what is not worse than "
    "the best, the cheapest in training time (on one device), or else in parameters, is chosen. The test split is not "
    "looked at."
)
COPIES = {"together": ", nor a near-duplicate of it", "ignored": ""}


@foreign("a result in this table is damaged or of another version of gmcn; make it again")
def tabulate(
    table: Mapping[str, Any],
    *,
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    command: str = "snakemake --cores all results",
) -> Table:
    """Write ``output``.md, .html, .csv (all digits, one line per cell) and .tex, and return the table.

    An ``output`` that ends in one of these means all of them.

    ``table`` is what :func:`gmcn.config.tables.table_of` gives, ``inputs`` those of its results that exist, in any
    order. ``command`` and a result's path below the results make one word that fills an empty row. Raises
    :class:`InputError` when an input is of something that the table does not show.
    """
    kinds = {"results": _results, "footprint": _footprint, "least-squares": _least_squares, "folds": _folds}
    columns = {name: column(name, table.get("tasks", ())) for name in table["columns"]}
    rows = kinds[table["kind"]](table, inputs, command)
    notes = list(dict.fromkeys([*table["notes"], *(found.note for found in columns.values() if found.note)]))
    how = {"how_to_read": FOLDS.format(copies=COPIES[table["duplicates"]])} if table["kind"] == "folds" else {}
    collected = Table(table["name"], table["title"], columns, rows, notes, **how)
    writers, output = {".md": markdown, ".csv": csv_text, ".tex": tex, ".html": page}, Path(output)
    stem = output.stem if output.suffix in writers else output.name
    for suffix, text in writers.items():
        write_text(output.with_name(stem + suffix), text(collected))
    return collected


def _results(table: Mapping[str, Any], inputs: Sequence[str | os.PathLike], command: str) -> list[Row]:
    results = _read(table, inputs)
    rows = []
    for row in table["rows"]:
        result = results.get(_key(row), {})
        cells = {
            name: Cell(row["paper"].get(name), *column(name, table["tasks"]).read(result)) for name in table["columns"]
        }
        rows.append(Row(row["label"] + _part_of(result), cells, **_origin(row, result, command)))
    return rows


def _part_of(result: Mapping[str, Any]) -> str:
    """How many training objects a rival has seen, where these are not all."""
    seen, there = at(result, "objects", "train"), at(result, "objects", "of")
    return "" if seen == there else f" on {seen:,} of {there:,} objects"


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row, or a result, is about."""
    return tuple(at(row, name) for name in ("dataset", "variant", "rival"))


def _read(table: Mapping[str, Any], paths: Sequence[str | os.PathLike]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Results by what they are about."""
    shown = {_key(row) for row in table["rows"]}
    results = {}
    for path in paths:
        result = read_result(path)
        key = dataset, variant, rival = _key(result)
        if key not in shown:
            raise InputError(
                f"{path} is the result of {variant or rival} on {dataset}, which {table['name']} does not show"
            )
        results[key] = result
    return results


def _origin(row: Mapping[str, Any], result: Mapping[str, Any], command: str) -> dict[str, Any]:
    """The facts about a row's result that are not cells."""
    file = result_file(row)
    if not result:
        return {"result": file, "command": f"{command}/{file}"}
    return {
        "result": file,
        "seeds": len(at(result, "training") or ()) or None,
        "minutes": column("minutes").read(result),
        "gib": column("gib").read(result),
        "device": device_of(result),
    }


def _footprint(table: Mapping[str, Any], inputs: Sequence[str | os.PathLike], command: str) -> list[Row]:
    """Tables 5 and 6: equations (10) in both dimensions, and the measured peak of a trained variant."""
    own = PAPER | {"fused": table["fused"]}
    flat, solid = (theoretical_footprint(**own | {"network": own["network"] | {"dim": d}})["layers"] for d in (2, 3))
    layers: dict[int | str, dict[str, float]] = {
        index: _layer(*pair) for index, pair in enumerate(zip(flat, solid, strict=True), 1)
    }
    layers["total"] = {key: sum(layer[key] for layer in layers.values()) for key in layers[1]}
    results, rows = _read(table, inputs), []
    for row in table["rows"]:
        if row["layer"] != "measured":
            values, origin = layers[row["layer"]], {}
        else:
            result = results.get(_key(row), {})
            values, origin = _measured(result), _origin(row, result, command)
        cells = {name: Cell(row["paper"].get(name), values.get(name)) for name in table["columns"]}
        rows.append(Row(row["label"], cells, **origin))
    return rows


def _layer(flat: Mapping[str, Any], solid: Mapping[str, Any]) -> dict[str, float]:
    return {
        "kernel-gaussians": solid["K"],
        "data-gaussians": solid["D"],
        "gaussians": solid["G"],
        "mib2d": flat["bytes"] / MIB,
        "mib3d": solid["bytes"] / MIB,
    }


def _measured(result: Mapping[str, Any]) -> dict[str, float]:
    """The measured peak, under the column of the network's dimension; nothing of a network that is not the paper's."""
    footprint = at(result, "measures", "footprint")
    inputs = at(footprint, "theory", "fused", "layers", 0, "N_i")
    if (inputs, at(result, "settings", "network", "layers")) != (PAPER["components"], PAPER["network"]["layers"]):
        return {}
    return {f"mib{footprint['dim']}d": footprint["measured"]["bytes"] / MIB}


def _folds(table: Mapping[str, Any], inputs: Sequence[str | os.PathLike], command: str) -> list[Row]:
    from gmcn.results.table_folds import fold_rows

    return fold_rows(table, inputs, command)


def _least_squares(table: Mapping[str, Any], inputs: Sequence[str | os.PathLike], command: str) -> list[Row]:
    from gmcn.papers.gmcn.least_squares import LeastSquaresSettings

    measured = read_json(inputs[0]) if inputs else {}
    entries = {(entry["solver"], entry["positions"]): entry for entry in measured.get("entries", ())}
    # Times of another number of mixtures are not set against the paper's.
    mixtures = at(measured, "settings", "mixtures")
    other = mixtures not in (None, LeastSquaresSettings().mixtures)
    rows = []
    for row in table["rows"]:
        entry = entries.get((row["solver"], row["positions"]))
        paper = {name: str(value) for name, value in row["paper"].items()} if other else row["paper"]
        cells = {c: Cell(paper.get(c), at(entry, c.replace("-", "_"))) for c in table["columns"]}
        missing = {"command": f"{command}/{LEAST_SQUARES}"} if entry is None else {"device": measured["device"]}
        label = f"{row['label']} ({mixtures} mixtures)" if other else row["label"]
        rows.append(Row(label, cells, result=LEAST_SQUARES, **missing))
    return rows
