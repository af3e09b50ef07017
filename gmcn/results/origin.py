"""The origin of numbers: metadata for every JSON about a trained network."""

from __future__ import annotations

import os
from typing import Any

from gmcn.artifacts import provenance
from gmcn.data.objects import ObjectSet
from gmcn.data.preparation import describe_inputs
from gmcn.tracking import Run


def origin(artifact: str | os.PathLike, data: ObjectSet, run: Run) -> dict[str, Any]:
    """The data set and its fit, the artifact of objects, the tracking run and the code."""
    return {
        "dataset": data.metadata.get("dataset"),
        "fit": data.metadata.get("fit"),
        "inputs": describe_inputs(artifact),
        "run_id": run.id,
        "provenance": provenance(),
    }
