"""The workflow's configuration: read, checked against its schema, and resolved per data set and variant."""

from gmcn.config.illustrations import COMPARED, ILLUSTRATIONS, MEASURED, Comparison, Illustration
from gmcn.config.reading import SCHEMA, check, load, together
from gmcn.config.resolving import (
    FOLD,
    dataset,
    figure_of,
    fit,
    kind_of,
    measured,
    measured_dataset,
    merge,
    network_of_fit,
    resolve,
    task_of,
)
from gmcn.config.sections import RIVALS
from gmcn.config.stages import compared, how_of, processes_of, secret_addresses, stage_settings
from gmcn.config.targets import check_target

__all__ = [
    "COMPARED",
    "FOLD",
    "ILLUSTRATIONS",
    "MEASURED",
    "RIVALS",
    "SCHEMA",
    "Comparison",
    "Illustration",
    "check",
    "check_target",
    "compared",
    "dataset",
    "figure_of",
    "fit",
    "how_of",
    "kind_of",
    "load",
    "measured",
    "measured_dataset",
    "merge",
    "network_of_fit",
    "processes_of",
    "resolve",
    "secret_addresses",
    "stage_settings",
    "task_of",
    "together",
]
