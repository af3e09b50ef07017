"""Errors a user can act on: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator

from gmcn.addresses import plain

__all__ = ["InputError"]

SHOWN = 12  # of the names that would do

# What content raises that is not of the kind that the code which uses it expects.
_WRONG_KIND = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


# Messages of allocators without an exception of their own: CUDA's libraries, torch's on the CPU, C++, our operations.
# The second line matches the rest of torch's error in a compiled operation, which cannot see why it got no memory.
_NO_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|bad_alloc|ALLOC_FAILED"
    r"|\"aten::(new_empty|new_zeros|empty_like|zeros_like|contiguous|clone)\".*API call failed"
)


def is_out_of_memory(error: Exception) -> bool:
    """True if the device, or the computer itself, had no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


# Packages that a plain `pip install gmcn` leaves out, by the names that they are imported by: the extra `workflow`.
EXTRA = {name: name for name in ("matplotlib", "mlflow", "pandas", "plotly", "pygments", "requests", "snakemake")}
EXTRA |= {"scipy": "scipy", "PIL": "pillow", "point_cloud_utils": "point-cloud-utils", "sklearn": "scikit-learn"}


class InputError(ValueError):
    """Input that the user has to correct; commands print its sentence alone and exit with status 2.

    Non-printable characters, which untrusted names may contain, become spaces. Addresses are shown without user,
    password and query.
    """

    def __init__(self, sentence: str):
        super().__init__("".join(letter if letter.isprintable() else " " for letter in plain(sentence)))


@contextlib.contextmanager
def foreign(what: str) -> Iterator[None]:
    """Use untrusted content inside this block: every exception that it raises becomes an :class:`InputError`.

    ``what`` begins its sentence, as in "x.json is no result".
    """
    try:
        yield
    except InputError:
        raise
    except _WRONG_KIND as error:
        raise InputError(f"{what} ({type(error).__name__}: {brief(error)})") from error


def not_installed(error: ModuleNotFoundError) -> str | None:
    """A sentence that says what to install, if the missing module belongs to a package of :data:`EXTRA`."""
    package = EXTRA.get((error.name or "").partition(".")[0])
    return package and f"this needs the package {package}, which is not installed: pip install 'gmcn[workflow]'"


@contextlib.contextmanager
def extras() -> Iterator[None]:
    """Around what uses packages of :data:`EXTRA`: the error of one that is missing says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = not_installed(error)
        if sentence is None:
            raise
        raise ModuleNotFoundError(sentence, name=error.name, path=error.path) from error


def brief(foreign: object, longest: int = 200) -> str:
    """A message of another library or an untrusted file, as one short line without passwords."""
    return " ".join(plain(foreign).split())[:longest] or type(foreign).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the closest one that does, and the others; of many the next 12."""
    names = sorted(known)
    name = str(name)[:100]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    shown = names if len(names) <= SHOWN else difflib.get_close_matches(name, names, n=SHOWN, cutoff=0.0)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return InputError(f"unknown {kind} '{name}'{hint} (known: {', '.join(shown) or 'none'}{more})")
