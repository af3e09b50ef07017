"""The stage `sample`: whatever a data set is made of becomes one points artifact."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gmcn.artifacts import provenance, save_tensors, sha256
from gmcn.data.clouds import read_clouds
from gmcn.data.digits import read_digits
from gmcn.data.idx import read_images
from gmcn.data.meshes import read_meshes
from gmcn.data.samples import Samples, normalize
from gmcn.data.solids import make_solids
from gmcn.errors import InputError, unknown

# kind -> function of the settings and of the published files' paths, in the order of settings["files"].
READERS: dict[str, Callable[[dict[str, Any], list[Path]], Samples]] = {
    "clouds": read_clouds,
    "digits": read_digits,
    "images": read_images,
    "meshes": read_meshes,
    "solids": make_solids,
}


def sample(
    dataset: str,
    *,
    settings: dict[str, Any],
    downloads: str | os.PathLike | None,
    output: str | os.PathLike,
    run=None,
) -> None:
    """Read, sample and normalise the data set and write the points artifact ``output``.

    ``settings`` is the data set's entry of the configuration; ``downloads`` the folder that
    :func:`gmcn.data.download` filled (None for built-in sets). Points are float32 [S, M, 3], with
    ``normalize: true`` centred and in the unit sphere; images are uint8 [S, H, W].

    Raises:
        InputError: an unknown kind, a missing or malformed file, a value that is not finite.
    """
    kind = settings.get("kind")
    if kind not in READERS:
        raise unknown(f"kind of data set '{dataset}'", str(kind), READERS)
    files = _files(dataset, settings, downloads)
    started = time.perf_counter()
    samples = READERS[kind](settings, files)
    samples.check(", ".join(str(path) for path in files) or f"data set '{dataset}'")
    if samples.points is not None:
        points = normalize(samples.points) if settings.get("normalize") else samples.points
        tensors = {"points": torch.from_numpy(points)}
    else:
        tensors = {"images": torch.from_numpy(samples.images)}
    tensors |= {"labels": torch.from_numpy(samples.labels), "split": torch.from_numpy(samples.split)}
    if run is not None:
        test = int(samples.split.sum())
        run.log_metrics(
            {
                "sample/train": len(samples.names) - test,
                "sample/test": test,
                "sample/seconds": time.perf_counter() - started,
            }
        )
    save_tensors(
        output,
        tensors,
        {
            "dataset": dataset,
            "class_names": samples.class_names,
            "names": samples.names,
            "settings": settings,
            "sources": {path.name: sha256(path) for path in files},
            "provenance": provenance(),
            "run_id": run.id if run is not None else None,
        },
    )


def _files(dataset: str, settings: dict[str, Any], downloads: str | os.PathLike | None) -> list[Path]:
    names = [entry["name"] for entry in settings.get("files", ())]
    if names and downloads is None:
        raise InputError(f"data set '{dataset}' is made of published files; download it first")
    paths = [Path(downloads) / name for name in names]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with `gmcn download --dataset {dataset}`")
    return paths
