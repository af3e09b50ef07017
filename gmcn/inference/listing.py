"""Predictions as a table on the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from gmcn.artifacts import provenance, write_json, write_text
from gmcn.errors import InputError
from gmcn.inference.predicting import Prediction

FORMATS = (".json", ".csv")


def table(predictions: Sequence[Prediction], top: int = 2) -> str:
    """Aligned columns: the file (and object), its class, the probability, and the runners-up up to the ``top``-th."""
    rows = [["file", "class", "probability", *(["runner-up"] if top > 1 else [])]]
    for prediction in predictions:
        (best, probability), *others = prediction.top(top)
        place = prediction.file if prediction.name is None else f"{prediction.file}: {prediction.name}"
        rows.append([place, best, f"{probability:.3f}", ", ".join(f"{name} {share:.3f}" for name, share in others)])
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )


def check_output(path: str | os.PathLike) -> None:
    """:class:`InputError` for a file name that says no known format."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"cannot write {path}: its name must end in one of {', '.join(FORMATS)}")


def write(
    path: str | os.PathLike, predictions: Sequence[Prediction], *, model: str, refused: Sequence[str] = ()
) -> None:
    """All probabilities, as .json (with the network, what was ``refused``, and provenance) or .csv."""
    check_output(path)
    if Path(path).suffix.lower() == ".json":
        rows = [
            {
                "file": prediction.file,
                "name": prediction.name,
                "class": prediction.class_name,
                "probability": prediction.probability,
                "probabilities": prediction.probabilities,
            }
            for prediction in predictions
        ]
        whole = {"model": model, "predictions": rows, "refused": list(refused), "provenance": provenance()}
        write_json(path, whole)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predictions[0].probabilities) if predictions else []
    writer.writerow(["file", "name", "class", "probability", *classes])
    for prediction in predictions:
        name, best = prediction.name or "", prediction.class_name
        writer.writerow([prediction.file, name, best, prediction.probability, *prediction.probabilities.values()])
    write_text(path, text.getvalue())
