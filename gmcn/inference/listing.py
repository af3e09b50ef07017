"""Predictions as a table on the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmcn.artifacts import provenance, write_json, write_text
from gmcn.inference.files import check_format
from gmcn.inference.predicting import Prediction

FORMATS = (".json", ".csv")


def table(predictions: Sequence[Prediction], top: int = 2) -> str:
    """Aligned columns: the file (and object), and what the network says, of classes those up to the ``top``-th."""
    rows = []
    for prediction in predictions:
        file = _printable(prediction.file)
        place = file if prediction.name is None else f"{file}: {_printable(prediction.name)}"
        said = {key: _text(value) for key, value in prediction.answer.items() if not isinstance(value, Mapping)}
        if "probabilities" in prediction.answer and top > 1:
            said["runner-up"] = ", ".join(f"{name} {share:.3f}" for name, share in prediction.top(top)[1:])
        rows.append({"file": place, **said})
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in aligned)


def _printable(name: str) -> str:
    """The name of a file or object, whose bytes need not be text."""
    return os.fsencode(name).decode(errors="replace")


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write(
    path: str | os.PathLike, predictions: Sequence[Prediction], *, model: str, refused: Sequence[str] = ()
) -> None:
    """All that the network says, as .json (with the network, what was ``refused``, and provenance) or .csv."""
    check_format(path, FORMATS)
    if Path(path).suffix.lower() == ".json":
        rows = [
            {"file": _printable(found.file), "name": found.name and _printable(found.name), **found.answer}
            for found in predictions
        ]
        whole = {"model": model, "predictions": rows, "refused": list(refused), "provenance": provenance()}
        write_json(path, whole)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [
        {"file": _printable(found.file), "name": _printable(found.name or ""), **_flat(found.answer)}
        for found in predictions
    ]
    writer.writerow(rows[0] if rows else ["file", "name"])
    writer.writerows(row.values() for row in rows)
    write_text(path, text.getvalue())


def _flat(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Texts and numbers, those of a mapping under their own names, or after the mapping's where a column has it."""
    flat: dict[str, Any] = {}
    taken = {"file", "name", *answer}
    for key, value in answer.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}" if name in taken else name: each for name, each in value.items()}
        else:
            flat[key] = value
    return flat
