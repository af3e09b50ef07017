"""Tasks: what a network is trained for, and what is measured of it afterwards.

A task is a folder of two modules. ``objective`` says what training minimises, and an edit of it trains anew;
``measures`` says what is measured, drawn and answered, and an edit of it never does.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gmcn.errors import unknown

if TYPE_CHECKING:
    from gmcn.tasks.task import Measures, Objective, Settings

DEFAULT_TASK = "classification"
TASKS = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/objective.py")))


def objective(settings: Settings, task: str = DEFAULT_TASK) -> Objective:
    """What a training with these settings minimises. Raises :class:`gmcn.errors.InputError` for an unknown task."""
    return _module(task, "objective").Objective(settings)


def measures(task: str = DEFAULT_TASK) -> Measures:
    """What is measured of a network. Raises :class:`gmcn.errors.InputError` for an unknown task."""
    return _module(task, "measures").Measures()


def _module(task: str, part: str) -> ModuleType:
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return importlib.import_module(f"gmcn.tasks.{task}.{part}")
