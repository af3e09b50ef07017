"""A number that is measured: how it is called, written and compared. Needs no torch: tables read it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """``scale`` times the number, in ``unit`` and with ``digits`` after the point, is what people read."""

    name: str
    title: str
    unit: str = ""
    digits: int = 4
    larger_is_better: bool = False
    scale: float = 1.0

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title
