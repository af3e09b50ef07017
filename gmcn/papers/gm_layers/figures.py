"""The stage `draw-layers`: figures by name that train Gaussian mixture layers of their own, with their numbers."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from gmcn.artifacts import provenance, sha256, write_json
from gmcn.config.illustrations import MEASURED
from gmcn.declared import DISTINCT, FILLED, above, at_least, read
from gmcn.device import own_defaults
from gmcn.errors import unknown
from gmcn.papers.gm_layers.training import read_vectors
from gmcn.pictures import still

Count = Annotated[int, at_least(1), "A number of Gaussians."]


@dataclass(frozen=True)
class LayerSettings:
    """The trainings in the figures of Gaussian mixture layers (docs/gm_layers.md)."""

    dataset: Annotated[str, "Name of the data set, of images or vectors."] = "mnist"
    epochs: Annotated[int, at_least(1), "Passes over the training set."] = 3
    batch_size: Annotated[int, at_least(1), "Objects per step."] = 100
    learning_rate: Annotated[float, above(0), "Rate of the flow."] = 0.2
    components: Annotated[Sequence[Count], FILLED, DISTINCT, "Numbers of Gaussians that gmlayer-dynamics shows."] = (
        5,
        20,
    )
    rank: Annotated[int, at_least(1), "Factors of the layers of low rank."] = 4
    seeds: Annotated[
        Sequence[Annotated[int, at_least(0), "A seed."]], FILLED, DISTINCT, "Seeds of gmlayer-dynamics."
    ] = (0, 1, 2)
    particles: Annotated[int, at_least(2), "Free neurons of gmlayer-dynamics."] = 2000
    largest: Annotated[int, at_least(200), "Neurons of the largest network of gmlayer-sampling."] = 100_000
    draws: Annotated[int, at_least(1), "Networks of each size of gmlayer-sampling."] = 5
    objects: Annotated[int, at_least(1), "Test objects on which gmlayer-sampling compares networks."] = 300


@own_defaults()
def draw(
    name: str,
    *,
    points: str | os.PathLike,
    output: str | os.PathLike,
    settings: Mapping[str, Any] | None = None,
    kernels: Sequence[str | os.PathLike] = (),
) -> list[Path]:
    """Write ``output``.png, .svg and .json, the numbers, and return them.

    ``name`` is one of :data:`gmcn.config.illustrations.MEASURED`, ``settings`` those of :class:`LayerSettings`. All is
    on the CPU, and every draw is from a seed. ``kernels`` are results of infinite networks
    (``rivals/<data set>_<kernel>.json``), lines in gmlayer-dynamics. Raises :class:`InputError` for other names and
    objects that are no labelled images or vectors.
    """
    if name not in MEASURED:
        raise unknown("figure", name, MEASURED)
    own = read(LayerSettings, dict(settings or {}), "gm_layers")
    module, _, function = MEASURED[name].partition(":")
    found, figure = getattr(pkgutil.resolve_name(module), function)(read_vectors(points), own, kernels)
    output = Path(output)
    numbers = output.with_name(f"{output.name}.json")
    facts = {"settings": asdict(own), "inputs": {"points": sha256(points)}, "threads": torch.get_num_threads()}
    write_json(numbers, {"figure": name, **found, **facts, "provenance": provenance()})
    return [*still.save_both(figure, output), numbers]
