"""Clouds in text: x, y, z and whatever follows in lines, as scanners, CloudCompare and spreadsheets write them."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np

from gmcn.data.npz import check_upright
from gmcn.data.text import plain
from gmcn.errors import InputError, brief

_COMMENT, _BLANK = re.compile(rb"#[^\n]*"), re.compile(rb"(?m)^[ \t]+$")
_COMMENTS = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\n)*")  # before the first other line
_QUOTES = b"\"'/ \t"
_DECIMAL = re.compile(rb",?[-+]?\d+,\d+,?")  # a word with a comma in its number
# Commas that part numbers at one place and stand inside of them at another: 0,5, 1,5; or a part of a number that no
# whole number is: 0,05.
_TIGHT, _LOOSE, _FRACTION = (
    re.compile(text) for text in (rb"[\d.],[-+.\d]", rb"[\d.](?:[ \t]+,|,[ \t]+)[-+.\d]", rb"\d,0\d")
)


def parse_xyz(content: bytes, source: str) -> np.ndarray:  # [M, 3] float64
    """The points of a text, between blanks, commas or semicolons; ``#`` starts a comment.

    A first line may name the columns, if x, y and z are the first (``//X Y Z R G B``), or say how many points follow.

    Raises:
        InputError: with file and line, for what is no point; for names that are not those of the columns, also in a
            comment, for decimal commas, and for three lines of many numbers.
    """
    body, comments = plain(content, source), b""
    if b"#" in body:
        comments = _COMMENTS.match(body)[0]
        body = _COMMENT.sub(b"", body)
    body, names, promised = _without_header(body, source)
    body = body.rstrip()
    if b" \n" in body or b"\t\n" in body:
        body = _BLANK.sub(b"", body)  # no empty line to numpy, where separators are commas
    between = next((mark for mark in (";", ",") if mark.encode() in body), None)
    if between == "," and _are_decimal(body):
        raise InputError(f"{source}: commas stand inside its numbers; write decimal points instead")
    columns = len(_words(body.lstrip().partition(b"\n")[0], between and between.encode()))
    if names and columns == len(names) + 1:
        raise InputError(
            f"{source}: its rows have {columns} columns, and names stand above {len(names)}; remove a first column "
            "that counts the rows, or name the last one"
        )
    for number, line in enumerate(comments.split(b"\n"), start=1):
        # In words of its own it may say what it likes, also with a colon before the names.
        named = _names(line.rpartition(b":")[2])
        if len(named) <= columns and {b"x", b"y", b"z"} <= set(_axes(named)) and not _begin_with_axes(named):
            raise _misplaced(source, number, line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said of a file that holds nothing
        try:
            points = np.loadtxt(io.BytesIO(body), usecols=(0, 1, 2), ndmin=2, delimiter=between).reshape(-1, 3)
        except (ValueError, OverflowError) as error:
            raise _error_of(body, between, source, error) from error
    if promised not in (None, len(points)):
        raise InputError(f"{source} says that {promised:,} points follow, but there are {len(points):,}")
    check_upright((len(points), columns), source)
    return points


def _words(line: bytes, between: bytes | None) -> list[bytes]:
    """The columns of a line; separators at its end part nothing."""
    return line.rstrip(b" \t" + (between or b"")).split(between)


def _names(line: bytes) -> list[bytes]:
    """The columns of a line that names them."""
    between = next((mark for mark in (b";", b",") if mark in line), None)
    return [name.strip(_QUOTES).lower() for name in _words(line.strip().lstrip(b"#/ \t"), between)]


def _axes(names: list[bytes]) -> list[bytes]:
    """x, y and z, however they are written (``X[m]``), and nothing for other names."""
    return [name[:1] if re.match(rb"[xyz](?![a-z])", name) else b"" for name in names]


def _begin_with_axes(names: list[bytes]) -> bool:
    return _axes(names[:3]) == [b"x", b"y", b"z"]


def _misplaced(source: str, number: int, line: bytes) -> InputError:
    shown = brief(line.decode(errors="replace"), 40)
    return InputError(
        f"{source}, line {number}: '{shown}' is no point, nor are x, y and z its first columns; remove the line, "
        "and columns that stand before x, y and z"
    )


def _without_header(body: bytes, source: str) -> tuple[bytes, list[bytes], int | None]:
    """The text with a first line that is no point left empty, its names, and how many points it says there are."""
    start = len(body) - len(body.lstrip())
    line, _, rest = body[start:].partition(b"\n")
    names = _names(line)
    if not names:
        return body, [], None
    # pandas counts the columns where they have no names.
    counted = names == [b"%d" % column for column in range(len(names))] and len(names) > 2 and b"." in rest
    if counted or _begin_with_axes(names):
        return body[:start] + b"\n" + rest, names, None
    if names[0].isdigit() and len(names) == 1:
        return body[:start] + b"\n" + rest, [], int(names[0][:18])
    number = body[:start].count(b"\n") + 1
    if not names[0]:
        raise InputError(f"{source}, line {number}: the first column is empty; remove the first column")
    if not re.match(rb"[-+.\d]|nan|inf", names[0]):
        raise _misplaced(source, number, line)
    return body, [], None


def _are_decimal(body: bytes) -> bool:
    """True if commas seem to be decimal marks rather than separators, as far as the text shows."""
    return b"." not in body and bool(_FRACTION.search(body) or (_TIGHT.search(body) and _LOOSE.search(body)))


def _error_of(body: bytes, between: str | None, source: str, error: Exception) -> InputError:
    """A sentence about the first line that is no point; if there is none, numpy's message."""
    for number, line in enumerate(body.split(b"\n"), start=1):
        words = line.split(between and between.encode())
        try:
            if line.strip():
                [float(words[axis]) for axis in range(3)]
        except (ValueError, IndexError):
            shown = brief(line.decode(errors="replace"), 40)
            parts = re.split(rb"[;\s]+", line.strip())
            inside = len(parts) > 1 and any(map(_DECIMAL.fullmatch, parts))
            commas = "; its commas stand inside the numbers: write decimal points" if inside else ""
            return InputError(f"{source}, line {number}: a point needs three numbers, not '{shown}'{commas}")
    return InputError(f"{source} is no readable cloud ({brief(error)})")
