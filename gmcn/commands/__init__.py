"""The function of each command, under its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from gmcn.commands import others, report, stages
from gmcn.commands.context import Context
from gmcn.stages import Command, Stage

__all__ = ["Context", "function_of"]


def function_of(command: Command) -> Callable[[Context], None]:
    """The function of a command: one of the shared modules has it, or a module of the command's name.

    Stages that say what they call need none of their own.
    """
    if isinstance(command, Stage) and command.calls:
        return stages.calling(command)
    name = command.identifier
    home = next((module for module in (stages, report, others) if name in vars(module)), None)
    return getattr(home or importlib.import_module(f"gmcn.commands.{name}"), name)
