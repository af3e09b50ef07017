"""The workflow's configuration: read, checked against its schema, and resolved per data set and variant."""

from gmcn.config.illustrations import ILLUSTRATIONS, Illustration
from gmcn.config.reading import SCHEMA, check, load, together
from gmcn.config.resolving import FOLD, dataset, figure_of, fit, kind_of, measured, merge, resolve, task_of
from gmcn.config.sections import RIVALS
from gmcn.config.stages import processes_of, secret_addresses, stage_settings
from gmcn.config.targets import check_target

__all__ = [
    "FOLD",
    "ILLUSTRATIONS",
    "RIVALS",
    "SCHEMA",
    "Illustration",
    "check",
    "check_target",
    "dataset",
    "figure_of",
    "fit",
    "kind_of",
    "load",
    "measured",
    "merge",
    "processes_of",
    "resolve",
    "secret_addresses",
    "stage_settings",
    "task_of",
    "together",
]
