"""The workflow's configuration: read, checked against its schema, and resolved per data set and variant."""

from gmcn.config.reading import SCHEMA, check, load, read
from gmcn.config.resolving import FOLD, dataset, figure_of, fit, merge, resolve
from gmcn.config.stages import processes_of, secret_addresses, stage_settings
from gmcn.config.targets import ILLUSTRATIONS, check_target

__all__ = [
    "FOLD",
    "ILLUSTRATIONS",
    "SCHEMA",
    "check",
    "check_target",
    "dataset",
    "figure_of",
    "fit",
    "load",
    "merge",
    "processes_of",
    "read",
    "resolve",
    "secret_addresses",
    "stage_settings",
]
