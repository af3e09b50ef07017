"""What a network was trained on, and what an object has to go through to become such an input."""

from __future__ import annotations

import os
from typing import Any

from gmcn.artifacts import open_tensors, read_metadata, sha256
from gmcn.errors import InputError

# Of a data set's settings, those that decide how a single object is prepared.
_DATA = ("kind", "points", "sampling", "normalize", "repeat_points", "drop_not_finite", "split_lists", "seed")


def describe_inputs(mixtures: str | os.PathLike, points: str | os.PathLike | None = None) -> dict[str, Any]:
    """Path, hash and tracking runs of a mixtures artifact, and with ``points`` how an object becomes one of them.

    ``fit`` are the settings of the fit; ``data`` those of the data set that concern a single object, with the
    number of ``points`` or the ``size`` [H, W] of images as they are in the artifact ``points``. Raises
    :class:`gmcn.errors.InputError` where the mixtures are not of these points.
    """
    metadata = read_metadata(mixtures)
    described = {
        "mixtures": str(mixtures),
        "sha256": sha256(mixtures),
        "run_id": metadata.get("run_id"),
        "points_run_id": metadata.get("points_run_id"),
    }
    if points is None:
        return described
    with open_tensors(points) as (tensors, source):
        if source.get("names") != metadata.get("names"):
            raise InputError(f"{mixtures} are not the mixtures of {points}: their objects are others; fit them again")
        data = {key: value for key, value in source.get("settings", {}).items() if key in _DATA}
        if "images" in tensors:
            data["size"] = tensors["images"].get_shape()[1:]
        elif "points" in tensors:
            data["points"] = tensors["points"].get_shape()[1]
    return {**described, "data": data, "fit": metadata.get("settings", {})}
