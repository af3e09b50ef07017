"""The options of the commands; those that several commands have are defined here once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option (or, without dashes, an argument) of a command, with the words of argparse.

    ``also`` is another spelling of the same option. ``type`` is "integer", "count" (an integer from 1 on) or
    "number"; by default text. Of options with the same ``either`` only one may be given.
    """

    name: str
    help: str
    also: tuple[str, ...] = ()
    metavar: str | None = None
    type: str | None = None
    nargs: str | None = None
    action: str | None = None
    choices: tuple[str, ...] | None = None
    default: Any = None
    required: bool | None = None
    either: str | None = None


CONFIG = Option(
    "--config",
    "configuration (default: config.yaml); repeat it: later files override",
    action="append",
    metavar="FILE",
)
COMMON = (
    CONFIG,
    Option("--results", "folder of all results (default: the configuration's)", metavar="FOLDER"),
    Option("--tracking", "log to MLflow (default: the configuration's)", choices=("on", "off")),
    Option("--log", "also write what is printed to this file", metavar="FILE"),
)
OF_STAGES = (
    Option("--settings", "settings instead of the configuration's", metavar="JSON"),
    Option("--output", "where to write", metavar="PATH"),
    Option("--threads", "CPU threads (default: all cores)", type="count"),
)
DATASET = Option("--dataset", "name of a data set in the configuration", required=True)
FIT = Option("--fit", "name of a fit in the configuration", required=True)
VARIANT = Option("--variant", "name of a variant in the configuration", required=True)
NAME = Option("--name", "name of the table or figure", required=True)
POINTS = Option("--points", "points artifact of the stage `sample`", metavar="FILE")
INPUT = Option(
    "--input",
    "what networks are trained on: the mixtures of the stage `fit`, or without a fit the points of `sample`",
    also=("--mixtures",),
    metavar="FILE",
)
MODELS = Option("--models", "trained networks, one per seed", nargs="+", metavar="FILE")
DEVICE = Option("--device", "where to compute (default: auto)", choices=("auto", "cpu", "cuda"), default="auto")
DROP = Option("--drop-not-finite", "leave out points and splats that are not finite", action="store_true")
ANALYSIS = (DATASET, VARIANT, INPUT, MODELS, DEVICE)


def chosen(default: str) -> Option:
    """The option that says which seed's network is meant."""
    return Option("--seed", f"the network of this seed (default: {default})", type="integer")
