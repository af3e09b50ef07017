"""Writes the JSON schema of the configuration, ``gmcn/config/config.schema.json``, from the declarations.

    python -m gmcn.schema            # after a change of an option, its bounds or its meaning
    python -m gmcn.schema --check    # whether the file is what the declarations say

Each section is declared by the class that reads it (:mod:`gmcn.declared`); here is what joins them. The configuration
itself is read with that file, without torch and without the classes.
"""

from __future__ import annotations

import argparse
import inspect
import json
from dataclasses import dataclass
from typing import Annotated, Any

from gmcn.artifacts import write_text
from gmcn.config import SCHEMA
from gmcn.config.resolving import DEFAULT_KIND
from gmcn.config.sections import Figure, Illustrations, Name, ResultName, Table, Tracking
from gmcn.data import KINDS
from gmcn.data.kinds import Description
from gmcn.declared import DISTINCT, FILLED, OPTIONAL, SEEDS, WRITTEN, Choice, Keyword, at_least, schema_of
from gmcn.errors import InputError
from gmcn.fitting import FitSettings
from gmcn.models import NETWORKS
from gmcn.papers.dcgmm.settings import ComparisonSettings
from gmcn.papers.gm_layers.figures import LayerSettings
from gmcn.papers.gmcn.least_squares import LeastSquaresSettings
from gmcn.papers.pointgmm.settings import CloudFigureSettings
from gmcn.results.dynamics_stage import DynamicsSettings
from gmcn.results.probing import ProbeSettings
from gmcn.results.sample_settings import SampleSettings
from gmcn.training import TrainingSettings

SOME = Keyword("minProperties", 1)
WIDTH = 150  # of a line of the file, about

DataSet = Annotated[
    Any,
    Choice(
        "kind",
        "What the data set is: built in (digits, solids), or files (images, cifar, clouds, meshes, splats).",
        {name: kind.declaration for name, kind in KINDS.items()},
    ),
    "One data set; its kind decides which other keys it takes.",
]
_KINDS = " ".join(f"{kind}: {str(inspect.getdoc(network)).splitlines()[0]}" for kind, network in NETWORKS.items())
Network = Annotated[
    Any,
    Choice(
        "kind",
        f"{_KINDS} Default: {DEFAULT_KIND}. A variant that says another kind than its base starts with that kind's "
        "defaults.",
        NETWORKS,
        partial=True,
    ),
    "The network; its kind, its own or that of its bases, decides which other keys it takes.",
]


@dataclass(frozen=True)
class Fit(FitSettings):
    """One way to fit input mixtures."""

    description: Description = OPTIONAL


@dataclass(frozen=True)
class Settings:
    """The settings of a variant, in general or for one data set."""

    fit: Annotated[
        str | None, "Name of the input fit; null: the network is trained on the sampled objects themselves."
    ] = OPTIONAL
    seeds: Annotated[
        list[Annotated[int, *SEEDS, "A seed."]],
        FILLED,
        DISTINCT,
        "Seeds to train with; results are mean and standard deviation over them.",
    ] = OPTIONAL
    network: Network = OPTIONAL
    training: TrainingSettings = OPTIONAL
    probe: ProbeSettings = OPTIONAL
    dynamics: DynamicsSettings = OPTIONAL
    samples: SampleSettings = OPTIONAL
    outliers: Annotated[
        str,
        "Name of a data set of objects of the same shape: its test objects are outliers, which a density should find "
        "besides those of its own data set.",
    ] = OPTIONAL
    votes: Annotated[
        int,
        at_least(2),
        "So many variations of each test object, drawn as in training (its views, new fits of them, its augmentation), "
        "are classified besides the object itself, and their mean probabilities measured too.",
    ] = OPTIONAL


@dataclass(frozen=True)
class Variant(Settings):
    """One variant; what it leaves out comes from its base."""

    description: Description = OPTIONAL
    base: Annotated[str, "Name of the variant whose settings this one changes."] = OPTIONAL
    task: Annotated[str, "What the network is trained for, and measured by: a folder of gmcn/tasks."] = OPTIONAL
    datasets: Annotated[
        dict[str, Settings], "Settings that hold for one data set only, by its name; they win over the general ones."
    ] = OPTIONAL


@dataclass(frozen=True)
class Configuration:
    """Data sets, input fits, variants (network and training), tables and figures. Unknown keys are refused."""

    datasets: Annotated[dict[Name, DataSet], SOME, "Data sets by name."]
    fits: Annotated[dict[Name, Fit], SOME, "Ways to turn points or images into Gaussian mixtures, by name."]
    variants: Annotated[dict[Name, Variant], SOME, "Networks and their training, by name."]
    include: Annotated[
        list[Annotated[str, WRITTEN, "A file's name."]],
        "Other files of this kind, relative to the file that names them. What they say lies below what this file and "
        "every overlay says.",
    ] = OPTIONAL
    results: Annotated[str, WRITTEN, "Folder of everything the workflow writes, relative to the working directory."] = (
        OPTIONAL
    )
    targets: Annotated[
        list[Annotated[ResultName, "A result's name."]],
        FILLED,
        "What `snakemake` makes when no target is named: results by name, <data set>_<variant>.",
    ] = OPTIONAL
    queue: Annotated[
        list[Annotated[ResultName, "A result's name."]],
        FILLED,
        "What `make queue` makes, one result after the other, the most valuable first.",
    ] = OPTIONAL
    tracking: Tracking = OPTIONAL
    every_variant: Annotated[
        Settings,
        "Settings that win over those of every variant and of every data set in it, for an overlay such as "
        "workflow/small.yaml.",
    ] = OPTIONAL
    shrink: Annotated[
        int,
        at_least(1),
        "Divides the Gaussians of every fit and the channels and Gaussians of every network by this, for trying "
        "everything out.",
    ] = OPTIONAL
    tables: Annotated[
        dict[Name, Table],
        "Tables by name: results/tables/<name>.md, .html, .csv and .tex, published values beside ours. They are made "
        "from the results that exist.",
    ] = OPTIONAL
    least_squares: LeastSquaresSettings = OPTIONAL
    illustrations: Illustrations = OPTIONAL
    gm_layers: LayerSettings = OPTIONAL
    dcgmm: ComparisonSettings = OPTIONAL
    pointgmm: CloudFigureSettings = OPTIONAL
    figures: Annotated[
        dict[str, Figure],
        "Figures of fits side by side, by data set; what an entry leaves out comes from the one called default.",
    ] = OPTIONAL


def generated() -> str:
    """The text of the schema's file."""
    parts: dict[str, Any] = {}
    schema_of(Configuration, parts)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration of the gmcn workflow"}
    return _written({**head, **parts.pop("Configuration"), "$defs": parts}) + "\n"


def _written(node: Any, indent: int = 0) -> str:
    """JSON with the description first, and on one line what fits."""
    if isinstance(node, dict):
        node = dict(sorted(node.items(), key=lambda entry: entry[0] != "description"))
    line = json.dumps(node, ensure_ascii=False)
    if not isinstance(node, dict | list) or indent + len(line) <= WIDTH:
        return line
    inner = indent + 2
    if isinstance(node, dict):
        parts = [f"{json.dumps(key)}: {_written(value, inner)}" for key, value in node.items()]
    else:
        parts = [_written(value, inner) for value in node]
    opened, closed = "{}" if isinstance(node, dict) else "[]"
    lines = ",\n".join(" " * inner + part for part in parts)
    return f"{opened}\n{lines}\n{' ' * indent}{closed}"


def check() -> None:
    """Raise :class:`gmcn.errors.InputError` where the file is not what the declarations say."""
    if SCHEMA.read_text(encoding="utf-8") != generated():
        raise InputError(f"{SCHEMA} is not what the declarations say; write it anew with `python -m gmcn.schema`")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gmcn.schema", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    if parser.parse_args().check:
        try:
            check()
        except InputError as error:
            raise SystemExit(f"gmcn.schema: error: {error}") from None
    else:
        write_text(SCHEMA, generated())


if __name__ == "__main__":
    main()
