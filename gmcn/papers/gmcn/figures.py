"""The stage `draw-figure`: figures of the paper by their name, from our own networks and fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gmcn.data.objects import TEST, read_split, select
from gmcn.errors import InputError, unknown
from gmcn.models.loading import load
from gmcn.papers.gmcn import fitting_figures
from gmcn.pictures import network_figures, still

OF_FITS = {
    "figure3": fitting_figures.failures,
    "figure7": fitting_figures.inputs_and_heuristic,
    "figure8": fitting_figures.least_squares,
}
OF_NETWORKS = ("figure2", "figure9", "treehem")


def draw(
    name: str,
    *,
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    model: str | os.PathLike | None = None,
    mixtures: str | os.PathLike | None = None,
) -> list[Path]:
    """Write ``output``.png and .svg and return them.

    Figures 2 and 9 and ``treehem`` show ``model``, a trained network in 2D, on the test objects ``settings["objects"]``
    (default: the first) of ``mixtures``; figures 3, 7 and 8 need neither. Raises :class:`InputError` for other names,
    a network in 3D and objects that are not there.
    """
    if name in OF_FITS:
        figure = OF_FITS[name]()
    elif name in OF_NETWORKS:
        figure = _of_network(name, dict(settings or {}), model, mixtures)
    else:
        raise unknown("figure", name, (*OF_FITS, *OF_NETWORKS))
    return still.save_both(figure, Path(output))


def _of_network(name: str, settings: dict[str, Any], model: Any, mixtures: Any) -> Any:
    if model is None or mixtures is None:
        raise InputError(f"{name} shows a trained network: name it and its mixtures, or add illustrations.result")
    network = load(model)
    if network.dim != 2:
        raise InputError(f"{name} shows a network in 2D, but {model} is in {network.dim}D")
    if name == "figure9":
        return network_figures.kernels(network)
    data = read_split(mixtures, TEST)
    objects = settings.get("objects", [0])
    if max(objects) >= len(data):
        raise InputError(f"{mixtures} has {len(data)} test objects, the figure wants number {max(objects)} from 0")
    shown = select(data.mixture, objects)
    return network_figures.activations(network, shown) if name == "figure2" else network_figures.treehem(network, shown)
