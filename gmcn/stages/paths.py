"""The path of each artifact, relative to the folder of all results."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath, PurePosixPath

from gmcn.stages import STAGES

_RUN = "runs/{dataset}_{variant}"
_SEED = _RUN + "/seed{seed}"

# Patterns, by the artifacts' names: those of the stages, and what they write beside these.
PATHS = {
    **{stage.makes: stage.path for stage in STAGES.values()},
    "downloads": "datasets/{dataset}",
    "quality": "mixtures/{dataset}_{fit}.json",
    "run": _RUN,
    "model": _SEED + "/model.safetensors",
    "snapshot": _SEED + "/snapshots/epoch{epoch}.safetensors",
    "history": _SEED + "/history.csv",
    "training": _SEED + "/training.json",
    "checkpoint": _SEED + "/last.ckpt",
    "measure": _RUN + "/measure.png",
    "compared-samples": _RUN + "/samples.png",
    "confusion": _RUN + "/confusion.png",
    "mistakes": _RUN + "/mistakes.png",
    "pictures": _RUN + "/pictures",
    "curves": _RUN + "/curves.png",
    "log": "logs/{stage}/{job}.log",
    "benchmark": "benchmarks/{stage}/{job}.tsv",
}
# A published file's name may have underscores; the names of a configuration have none.
_FIELDS = {"file": "[^/]+", "seed": r"\d+", "epoch": r"\d+"}


def input_path(dataset: str, fit: str | None) -> str:
    """The input of trainings: the mixtures of a fit, or without a fit (None) the points artifact itself."""
    return PATHS["points" if fit is None else "mixtures"].format(dataset=dataset, fit=fit)


def snapshot_of(folder: str | os.PathLike, epoch: int | str) -> Path:
    """The file of the network after an epoch, in the folder of one seed."""
    return Path(folder, PurePosixPath(PATHS["snapshot"]).relative_to(_SEED).as_posix().format(epoch=epoch))


def name_of(artifact: str) -> str:
    """The name of an artifact's file, which is the same in every folder."""
    return PurePosixPath(PATHS[artifact]).name


def folder_of(artifact: str) -> str:
    """The folder, directly below the results, in which artifacts of this name lie."""
    return PurePosixPath(PATHS[artifact]).parts[0]


def fields_of(path: PurePath) -> dict[str, str] | None:
    """The values of the fields in the pattern of ``path``, relative to the results; None if no pattern matches."""
    for pattern in PATHS.values():
        fields = re.sub(
            r"\\{(\w+)\\}", lambda field: f"(?P<{field[1]}>{_FIELDS.get(field[1], '[^_/]+?')})", re.escape(pattern)
        )
        if found := re.fullmatch(rf"{fields}(\.\w+)?", str(path)):
            return found.groupdict()
    return None
