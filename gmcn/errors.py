"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError"]


class InputError(ValueError):
    """Input that the user has to correct; commands print its sentence alone and exit with status 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the names that do and the closest of them first."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return InputError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names) or 'none'})")
