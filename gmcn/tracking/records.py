"""The facts about a run and its inputs, as records of its journal."""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gmcn.addresses import plain
from gmcn.errors import InputError

MAX_PARAM = 500


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``outer.inner`` keys with short text values."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            text = plain(value)
            flat[f"{prefix}{key}"] = text if len(text) <= MAX_PARAM else text[: MAX_PARAM - 1] + "…"
    return flat


def points_of(metrics: Mapping[str, float | None], step: int | None) -> list[list[Any]]:
    """Name, value, time (ms) and step of all that have a value."""
    now = int(time.time() * 1000)
    return [[key, float(value), now, step] for key, value in metrics.items() if value is not None]


def tags_of(stage: str, job_key: str | None) -> dict[str, str]:
    """Tags: the stage, the code, the machine, the user and the job."""
    from gmcn.artifacts import provenance

    origin = provenance()
    tags = {"gmcn.stage": stage, "mlflow.source.name": f"gmcn {stage}", "mlflow.source.type": "LOCAL"}
    if job_key:
        tags["gmcn.job_key"] = job_key
    if origin["commit"]:
        tags["mlflow.source.git.commit"] = origin["commit"]
    tags |= {f"gmcn.version.{package}": version for package, version in origin["versions"].items()}
    tags |= {f"gmcn.{key}": str(origin[key]) for key in ("python", "system", "cpu", "cores", "gpu") if origin[key]}
    # No password entry for the user id: common in containers.
    with contextlib.suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    for variable in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        if variable in os.environ:
            tags[f"gmcn.{variable.lower()}"] = os.environ[variable]
    return tags


def inputs_of(inputs: Iterable[tuple[str, str | os.PathLike]]) -> list[dict[str, Any]]:
    """Those (role, path) that can be read: of others the stage itself says what is wrong."""
    found = []
    for role, path in inputs:
        with contextlib.suppress(InputError, OSError):
            found.append(input_of(role, path))
    return found


def input_of(role: str, path: str | os.PathLike) -> dict[str, Any]:
    """Describe an input file and its origin."""
    return {"role": role, "path": str(path), "uri": Path(path).resolve().as_uri(), **_origin_of(Path(path))}


def _origin_of(path: Path) -> dict[str, Any]:
    """Hash, maker and number of objects of an artifact, or of a published file with the JSON that describes it."""
    from gmcn.artifacts import open_tensors, read_json, sha256

    if path.suffix == ".safetensors":
        with open_tensors(path) as (tensors, header):
            rows = tensors["split"].get_shape()[0] if "split" in tensors else None
        return {"sha256": sha256(path), "run_id": header.get("run_id"), "rows": rows}
    beside = path.with_name(f"{path.name}.json")
    header = read_json(beside if beside.is_file() else path) if path.suffix == ".json" or beside.is_file() else {}
    header = header if isinstance(header, dict) else {}
    digest = header["sha256"] if beside.is_file() and "sha256" in header else sha256(path)
    return {"sha256": digest, "run_id": header.get("run_id"), "rows": None}
