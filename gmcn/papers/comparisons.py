"""The stage `draw-results`: figures by name of the results of several variants, with their numbers."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gmcn.artifacts import provenance, sha256, write_json
from gmcn.config.illustrations import COMPARED, Comparison
from gmcn.declared import read
from gmcn.device import own_defaults
from gmcn.errors import InputError, unknown
from gmcn.papers.dcgmm.settings import ComparisonSettings
from gmcn.papers.pointgmm.settings import CloudFigureSettings
from gmcn.pictures import still

SETTINGS: dict[str, type[Any]] = {"dcgmm": ComparisonSettings, "pointgmm": CloudFigureSettings}


@own_defaults()
def draw(
    name: str,
    *,
    inputs: Mapping[str, str | os.PathLike],
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``output``.png, .svg (of clouds .html, a page to turn) and .json, the numbers, and return them.

    ``name`` is one of :data:`gmcn.config.illustrations.COMPARED`, which says what its ``inputs`` are and their names,
    ``settings`` those of its section. All is on the CPU, and every draw is from a seed. Raises
    :class:`InputError` for other names, an input that is missing, and one that is something else.
    """
    figure = comparison(name)
    own = read(SETTINGS[figure.section], dict(settings or {}), figure.section)
    wanted = figure.names(own.datasets)
    if missing := [one for one in wanted if one not in inputs]:
        raise InputError(f"{name} shows {missing[0]} too; name its file in --inputs {missing[0]}=FILE")
    shown = {one: Path(inputs[one]) for one in wanted}
    module, _, function = figure.function.partition(":")
    found, picture = getattr(pkgutil.resolve_name(module), function)(shown, own)
    output = Path(output)
    *pictures, numbers = (output.with_name(f"{output.name}{suffix}") for suffix in figure.suffixes)
    facts = {"settings": asdict(own), "inputs": {one: sha256(path) for one, path in shown.items()}}
    write_json(numbers, {"figure": name, **found, **facts, "provenance": provenance()})
    for path in pictures:
        if figure.clouds:
            picture(path)
        else:
            still.save(picture, path)
    return [*pictures, numbers]


def comparison(name: str) -> Comparison:
    """The figure of this name; :class:`InputError` where there is none."""
    if name not in COMPARED:
        raise unknown("figure", name, COMPARED)
    return COMPARED[name]
