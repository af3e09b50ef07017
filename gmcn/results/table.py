"""A table of results, before it is written in any format."""

from __future__ import annotations

from dataclasses import dataclass, field

from gmcn.results.metrics import Column, Value


@dataclass(frozen=True)
class Cell:
    """A published value beside ours; either may be missing. ``text`` stands for a value that is no number."""

    paper: float | str | None
    ours: float | None = None
    std: float | None = None
    text: str | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        numbers = isinstance(self.paper, int | float) and self.ours is not None
        return self.ours - self.paper if numbers else None


@dataclass(frozen=True)
class Row:
    """One line: its cells by column, and where they come from.

    ``result`` is the file's path below the results and ``command`` makes it where it does not exist; both are None
    where the row is computed here.
    """

    label: str
    cells: dict[str, Cell]
    result: str | None = None
    command: str | None = None
    seeds: int | None = None
    minutes: Value = (None, None)
    gib: Value = (None, None)
    device: str | None = None


@dataclass(frozen=True)
class Table:
    """All that the three formats show."""

    name: str
    title: str
    columns: dict[str, Column]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    how_to_read: str = "Ours (paper, difference); ± is the standard deviation over seeds."
