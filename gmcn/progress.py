"""Following long work: a bar with its rate in a terminal; anywhere else a line now and then."""

from __future__ import annotations

import logging
import time

from rich import progress as bars
from rich.console import Console
from rich.text import Text

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between lines


class Progress(bars.Progress):
    """rich's, on stderr, of things that are counted or, with ``transfer``, of bytes."""

    def __init__(self, *, transfer: bool = False):
        console = Console(stderr=True)
        count = (
            (bars.DownloadColumn(), bars.TransferSpeedColumn()) if transfer else (bars.MofNCompleteColumn(), _Rate())
        )
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), *count, bars.TimeRemainingColumn())
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._said = time.monotonic()

    def advance(self, task_id: bars.TaskID, advance: float = 1) -> None:
        """Count ``advance`` more."""
        super().advance(task_id, advance)
        now = time.monotonic()
        if self.disable and now - self._said > EVERY:
            self._said = now
            task = next(task for task in self.tasks if task.id == task_id)
            whole = "" if task.total is None else f" of {task.total:,.0f}"
            log.info("%s: %s%s, %s per second", task.description, f"{task.completed:,.0f}", whole, _written(task.speed))


class _Rate(bars.ProgressColumn):
    """How many per second."""

    def render(self, task: bars.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_written(speed)}/s", style="progress.data.speed")


def _written(speed: float | None) -> str:
    return "?" if speed is None else f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
