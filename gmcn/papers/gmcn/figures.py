"""The stage `draw-figure`: figures of the paper by their name, from our own networks and fits."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmcn.config.illustrations import ILLUSTRATIONS
from gmcn.data.objects import TEST, read_split, select
from gmcn.errors import InputError, unknown
from gmcn.models.loading import load
from gmcn.pictures import still


def draw(
    name: str,
    *,
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    model: str | os.PathLike | None = None,
    mixtures: str | os.PathLike | None = None,
) -> list[Path]:
    """Write ``output``.png and .svg and return them.

    ``name`` is one of :data:`gmcn.config.illustrations.ILLUSTRATIONS`. Where it shows a network, that is ``model``, a
    trained network in 2D, and its objects are the test objects ``settings["objects"]`` (default: the first) of
    ``mixtures``. Raises :class:`InputError` for other names, a network in 3D and objects that are not there.
    """
    if name not in ILLUSTRATIONS:
        raise unknown("figure", name, ILLUSTRATIONS)
    shows = ILLUSTRATIONS[name].shows
    taken = [] if shows == "nothing" else _taken(name, shows, settings or {}, model, mixtures)
    figure = pkgutil.resolve_name(ILLUSTRATIONS[name].function)(*taken)
    return still.save_both(figure, Path(output))


def _taken(name: str, shows: str, settings: Mapping[str, Any], model: Any, mixtures: Any) -> list[Any]:
    """The network, and the mixtures [S, N] where the figure shows some."""
    if model is None or mixtures is None:
        raise InputError(f"{name} shows a trained network: name it and its mixtures, or add illustrations.result")
    network = load(model)
    if network.dim != 2:
        raise InputError(f"{name} shows a network in 2D, but {model} is in {network.dim}D")
    if shows == "network":
        return [network]
    data = read_split(mixtures, TEST)
    objects = settings.get("objects", [0])
    if max(objects) >= len(data):
        raise InputError(f"{mixtures} has {len(data)} test objects, the figure wants number {max(objects)} from 0")
    return [network, select(data.inputs, objects)]
