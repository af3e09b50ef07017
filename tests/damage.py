"""Damages files and tells what a reader makes of them, for the tests that are called test_damaged.

With GMCN_FUZZ=100, as `make fuzz` sets it, they try a hundred times as many files, and other ones every time.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gmcn.errors import InputError

TIMES = int(os.environ.get("GMCN_FUZZ", "1"))
LONGEST_SENTENCE = 2000  # where it names several objects

PIECES = (b"9" * 25, b"-1 ", b"nan ", b"1e400 ", b"\n", b"#", b"element vertex 10\n", b"element foo -100\n",
          b"property list uchar int x\n", b"property float\n", b"PK\x03\x04", b"\0\xff", b"\xff\xff\xff\x7f",
          b"null", b'"', b"[" * 5000, b"{}", b"&a [*a]")  # fmt: skip
# Where (a share of the length), how many bytes go and what comes in their place; and how much of it all is kept.
EDITS = st.tuples(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(PIECES) | st.binary(max_size=8)),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 2),
)
Edits = tuple[list[tuple[float, int, bytes]], float]

# Whatever JSON can hold, for what a reader expects something else.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**12, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def fuzz(examples: int) -> settings:
    """The decorator of a test that tries so many examples: the same ones, unless there are to be more."""
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=TIMES == 1,
    )


def altered(content: bytes, edits: Edits, power: int = 2) -> bytes:
    """The content with the edits; a higher ``power`` has more of them near its beginning."""
    for place, length, piece in edits[0]:
        start = int(place**power * len(content))
        content = content[:start] + piece + content[start + length :]
    return content[: int(edits[1] * len(content)) + 1]


def replaced(value: Any, place: float, by: Any) -> Any:
    """A copy of a JSON value, in which one of its parts is another."""
    spots = _spots(value)
    spot = spots[min(int(place * len(spots)), len(spots) - 1)]

    def copy(part: Any, path: tuple) -> Any:
        if path == spot:
            return by
        if isinstance(part, dict):
            return {key: copy(inner, (*path, key)) for key, inner in part.items()}
        if isinstance(part, list):
            return [copy(inner, (*path, index)) for index, inner in enumerate(part)]
        return part

    return copy(value, ())


class _Malicious:
    def __init__(self, folder: Path):
        self.target = str(folder / "executed")

    def __reduce__(self) -> tuple:
        return open, (self.target, "w")


def malicious(folder: Path) -> Any:
    """An object whose pickle, when it is loaded, makes the file ``executed``; as an array for what takes only these."""
    return np.array([_Malicious(folder)], dtype=object)


def _spots(value: Any, path: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(spot for key, inner in inside for spot in _spots(inner, (*path, key)))]


def outcome(function: Callable[..., Any], *arguments: Any, errors: Any = InputError) -> tuple[Any, str | None]:
    """The function's result, or the sentence with which it refuses; any other exception comes through."""
    sentence = None
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments), None
    except errors as error:
        sentence = str(error)
    finally:
        logging.disable(before)
    assert sentence
    assert "\n" not in sentence
    assert len(sentence) <= LONGEST_SENTENCE, sentence
    return None, sentence
