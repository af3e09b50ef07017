"""The stage `table`: the results of one data set side by side, each beside the published value where there is one."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import read_json, write_text
from gmcn.errors import InputError

COLUMNS = ("variant", "fit", "parameters", "accuracy", "std", "seeds", "paper", "source", "training_seconds")
HEADINGS = {
    "variant": "variant",
    "fit": "input fit",
    "parameters": "parameters",
    "accuracy": "test accuracy (%)",
    "paper": "published (%)",
    "source": "where",
    "training_seconds": "training (s)",
}


def tabulate(
    dataset: str,
    *,
    rows: Sequence[Mapping[str, Any]],
    summaries: Sequence[str | os.PathLike],
    output: str | os.PathLike,
) -> list[dict[str, Any]]:
    """Write ``output``.md (for reading) and ``output``.csv (all digits), and return the table.

    ``rows`` are ``variant`` and, where they are known, ``paper`` (the published accuracy) and ``source``;
    ``summaries`` the results in the same order. Raises :class:`InputError` when a result is of something else.
    """
    if len(rows) != len(summaries):
        raise InputError(f"the table of {dataset} has {len(rows)} rows, but {len(summaries)} results were given")
    table = [_row(dataset, row, path) for row, path in zip(rows, summaries, strict=True)]
    output = Path(output)
    write_text(output.with_name(f"{output.name}.md"), _markdown(dataset, table))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(output.with_name(f"{output.name}.csv"), text.getvalue())
    return table


def _row(dataset: str, row: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    result = read_json(path)
    if (result.get("dataset"), result.get("variant")) != (dataset, row["variant"]):
        raise InputError(
            f"{path} is the result of {result.get('variant')} on {result.get('dataset')}, but the table wants "
            f"{row['variant']} on {dataset}"
        )
    return {
        "variant": row["variant"],
        "fit": result["fit"],
        "parameters": result["parameters"],
        "accuracy": result["accuracy"]["mean"],
        "std": result["accuracy"]["std"],
        "seeds": len(result["accuracy"]["seeds"]),
        "paper": row.get("paper"),
        "source": row.get("source"),
        "training_seconds": result["seconds"]["training"]["mean"],
    }


def _markdown(dataset: str, table: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"# {dataset}", "", f"| {' | '.join(HEADINGS.values())} |", f"|{' --- |' * len(HEADINGS)}"]
    for row in table:
        accuracy = _percent(row["accuracy"])
        if row["std"] is not None:
            accuracy += f" ± {_percent(row['std'])} ({row['seeds']} seeds)"
        cells = {
            **row,
            "accuracy": accuracy,
            "parameters": f"{row['parameters']:,}",
            "paper": "" if row["paper"] is None else _percent(row["paper"]),
            "source": row["source"] or "",
            "training_seconds": f"{row['training_seconds']:.0f}",
        }
        lines.append(f"| {' | '.join(str(cells[key]) for key in HEADINGS)} |")
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
