"""The stage `draw-results`: figures by name of the results of several variants, with their numbers."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from gmcn.artifacts import provenance, sha256, write_json
from gmcn.config.illustrations import COMPARED, DATASETS, Comparison
from gmcn.declared import DISTINCT, FILLED, above, at_least, read
from gmcn.device import own_defaults
from gmcn.errors import InputError, unknown
from gmcn.pictures import still


@dataclass(frozen=True)
class ComparisonSettings:
    """What the figures of deep convolutional mixtures show (docs/dcgmm.md)."""

    datasets: Annotated[
        Sequence[Annotated[str, "A data set of images."]],
        FILLED,
        DISTINCT,
        "Names of the data sets; dcgmm-figure2, 4 and 5 show the first, dcgmm-figure7 and 8 the last, others all.",
    ] = DATASETS
    samples: Annotated[int, at_least(3), "Images of a panel."] = 49
    divisor: Annotated[float, above(0), "Of standard deviations, where samples are drawn with less noise."] = 10.0
    steps: Annotated[int, at_least(1), "Steps of sharpening, of 0.1."] = 1000


@own_defaults()
def draw(
    name: str,
    *,
    inputs: Mapping[str, str | os.PathLike],
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``output``.png, .svg and .json, the numbers, and return them.

    ``name`` is one of :data:`gmcn.config.illustrations.COMPARED`, which says what its ``inputs`` are and their names,
    ``settings`` those of :class:`ComparisonSettings`. All is on the CPU, and every draw is from a seed. Raises
    :class:`InputError` for other names, an input that is missing, and one that is something else.
    """
    figure = comparison(name)
    own = read(ComparisonSettings, dict(settings or {}), "dcgmm")
    wanted = figure.names(own.datasets)
    if missing := [one for one in wanted if one not in inputs]:
        raise InputError(f"{name} shows {missing[0]} too; name its file in --inputs {missing[0]}=FILE")
    shown = {one: Path(inputs[one]) for one in wanted}
    module, _, function = figure.function.partition(":")
    found, picture = getattr(pkgutil.resolve_name(module), function)(shown, own)
    output = Path(output)
    numbers = output.with_name(f"{output.name}.json")
    facts = {"settings": asdict(own), "inputs": {one: sha256(path) for one, path in shown.items()}}
    write_json(numbers, {"figure": name, **found, **facts, "provenance": provenance()})
    return [*still.save_both(picture, output), numbers]


def comparison(name: str) -> Comparison:
    """The figure of this name; :class:`InputError` where there is none."""
    if name not in COMPARED:
        raise unknown("figure", name, COMPARED)
    return COMPARED[name]


def by_dataset(inputs: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Inputs by data set, and there by variant or rival."""
    found: dict[str, dict[str, Path]] = {}
    for name, path in inputs.items():
        dataset, _, what = name.partition("_")
        found.setdefault(dataset, {})[what] = path
    return found
