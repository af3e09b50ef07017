"""Tasks: the objective that a network is trained for, and the measures of the trained network.

A task is a folder of two modules. ``objective`` has the function that training minimises; an edit of it retrains the
task's networks. ``measures`` measures, draws and answers; an edit of it re-evaluates them and never retrains.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gmcn.errors import unknown

if TYPE_CHECKING:
    from gmcn.tasks.metric import Metric
    from gmcn.tasks.task import Measures, Objective, Settings

DEFAULT_TASK = "classification"
TASKS = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/objective.py")))


def objective(settings: Settings, task: str = DEFAULT_TASK) -> Objective:
    """The objective of a training with these settings. Raises :class:`gmcn.errors.InputError` for an unknown task."""
    return _module(task, "objective").Objective(settings)


def measures(task: str = DEFAULT_TASK) -> Measures:
    """The measures of a task. Raises :class:`gmcn.errors.InputError` for an unknown task."""
    return _module(task, "measures").Measures()


def validated(task: str = DEFAULT_TASK) -> tuple[Metric, ...]:
    """The metrics of every object that a training validates, the loss first."""
    return _module(task, "objective").Objective.metrics


def _module(task: str, part: str) -> ModuleType:
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return importlib.import_module(f"gmcn.tasks.{task}.{part}")
