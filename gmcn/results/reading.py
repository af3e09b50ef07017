"""Results read back, those that an older version wrote as if this one had."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gmcn.artifacts import read_json
from gmcn.errors import InputError

FORMAT = 2  # of a result's JSON


def read_result(path: str | os.PathLike) -> dict[str, Any]:
    """A result in the present format. Raises :class:`InputError` for one of a later version."""
    result = read_json(path)
    if not isinstance(result, dict):
        raise InputError(
            f"{path} is no result; make one with `snakemake --cores all results/<data set>_<variant>.json`"
        )
    found = result.get("format", 1)
    if found == FORMAT:
        return result
    if found != 1:
        raise InputError(f"{path} has format {found}, which this version of gmcn does not know; update gmcn")
    return _upgraded(result)


def at(value: Any, *path: str | int) -> Any:
    """The value at a path of keys and places in JSON; None if the path ends before."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """A result without ``format``: all of them classify, with metrics at the top and mixtures as inputs."""
    new = {key: value for key, value in old.items() if key not in _MOVED}
    measures = {name: old[name] for name in ("rmse", "footprint") if name in old}
    if first := at(old, "footprint", "theory", "fused", "layers", 0):  # which did not say its dimension
        dim = 2 if first["bytes"] == first["G"] * 6 * 4 else 3
        measures["footprint"] = {**measures["footprint"], "dim": dim}
    metrics = {name: old[name] for name in ("accuracy", "loss") if name in old}
    files = dict(old.get("files", {}))
    if "mixtures" in files:
        files["input"] = files.pop("mixtures")
    return new | {
        "format": FORMAT,
        "task": "classification",
        "input": {"kind": "mixtures", **files.get("input", {})},
        **({"metrics": metrics} if metrics else {}),
        "headline": "accuracy",
        "larger_is_better": True,
        "details": {"per_class": old["per_class"]} if "per_class" in old else {},
        "measures": measures,
        "validation": {seed: {"accuracy": value} for seed, value in (old.get("validation_accuracy") or {}).items()},
        "files": files,
    }


_MOVED = ("accuracy", "loss", "per_class", "rmse", "footprint", "validation_accuracy")
