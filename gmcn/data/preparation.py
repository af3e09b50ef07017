"""Describes the input of a network, and the steps that turn an object into such an input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gmcn.artifacts import open_tensors, sha256, sha256_of_tensors
from gmcn.data.objects import MIXTURES, kind_of
from gmcn.errors import InputError

# Of a data set's settings, those that decide how a single object is prepared.
_DATA = ("kind", "points", "sampling", "normalize", "repeat_points", "drop_not_finite", "split_lists", "seed")


def describe_inputs(artifact: str | os.PathLike, points: str | os.PathLike | None = None) -> dict[str, Any]:
    """Describe an artifact of objects, and the steps that turn an object into one of them.

    ``kind``, path, hash and tracking runs. With ``points``, what the mixtures were fitted to, also ``fit``, the
    settings of the fit, and ``data``, those of the data set that concern a single object, with the number of ``points``
    or the ``size`` [H, W] of images as they are there. Objects that were not fitted, splats too, say this
    themselves; their ``fit`` is None. Raises :class:`gmcn.errors.InputError` where mixtures are not of these points.
    """
    with open_tensors(artifact) as (tensors, metadata):
        kind = kind_of(tensors)
        described: dict[str, Any] = {
            "kind": kind,
            "path": str(artifact),
            "sha256": sha256(artifact),
            "run_id": metadata.get("run_id"),
            "points_run_id": metadata.get("points_run_id"),
        }
        if kind != MIXTURES:
            return {**described, "data": data_of(tensors, metadata), "fit": None}
    if points is None:
        return described
    with open_tensors(points) as (tensors, source):
        if source.get("names") != metadata.get("names"):
            raise InputError(f"{artifact} are not the mixtures of {points}: their objects differ; fit them again")
        check_points(artifact, metadata, points)
        # Splats are mixtures without a fit.
        fit = metadata.get("settings", {}) if "fit" in metadata else None
        return {**described, "data": data_of(tensors, source), "fit": fit}


def check_points(mixtures: str | os.PathLike, metadata: Mapping[str, Any], points: str | os.PathLike) -> None:
    """:class:`InputError` where mixtures say that they were fitted to other points than these."""
    if metadata.get("points_sha256") not in (None, sha256_of_tensors(points)):
        raise InputError(f"{mixtures} are not the mixtures of {points}: they are of other points; fit them again")


def data_of(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Of a points artifact the settings that concern a single object."""
    data = {key: value for key, value in metadata.get("settings", {}).items() if key in _DATA}
    if "images" in tensors:
        data["size"] = tensors["images"].get_shape()[1:]
    elif "points" in tensors:
        data["points"] = tensors["points"].get_shape()[1]
    return data
