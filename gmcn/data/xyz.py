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
_QUOTES = b"\"'/ \t"
# Commas that part numbers at one place and stand inside of them at another: 0,5, 1,5; or a part of a number that no
# whole number is: 0,05.
_TIGHT, _LOOSE, _FRACTION = (
    re.compile(text) for text in (rb"[\d.],[-+.\d]", rb"[\d.](?:[ \t]+,|,[ \t]+)[-+.\d]", rb"\d,0\d")
)


def parse_xyz(content: bytes, source: str) -> np.ndarray:  # [M, 3] float64
    """The points of a text, between blanks, commas or semicolons; ``#`` starts a comment.

    A first line may name the columns, if x, y and z are the first (``//X Y Z R G B``), or say how many points follow.

    Raises:
        InputError: with file and line, for what is no point; for decimal commas, and for three lines of many numbers.
    """
    body = plain(content, source)
    if b"#" in body:
        body = _COMMENT.sub(b"", body)
    body, promised = _without_header(body, source)
    body = body.rstrip()
    if b" \n" in body or b"\t\n" in body:
        body = _BLANK.sub(b"", body)  # no empty line to numpy, where separators are commas
    between = next((mark for mark in (";", ",") if mark.encode() in body), None)
    if between == "," and _are_decimal(body):
        raise InputError(f"{source}: commas stand inside its numbers; write decimal points instead")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said of a file that holds nothing
        try:
            points = np.loadtxt(io.BytesIO(body), usecols=(0, 1, 2), ndmin=2, delimiter=between).reshape(-1, 3)
        except (ValueError, OverflowError) as error:
            raise _error_of(body, between, source, error) from error
    if promised not in (None, len(points)):
        raise InputError(f"{source} says that {promised:,} points follow, but there are {len(points):,}")
    columns = body.lstrip().partition(b"\n")[0].split(between and between.encode())
    check_upright((len(points), len(columns)), source)
    return points


def _without_header(body: bytes, source: str) -> tuple[bytes, int | None]:
    """The text with a first line that is no point left empty, and how many points this line says there are."""
    start = len(body) - len(body.lstrip())
    line, _, rest = body[start:].partition(b"\n")
    names = [name.strip(_QUOTES).lower() for name in re.split(rb"[;,]|[ \t]+", line.strip().lstrip(b"/ \t"))]
    # pandas counts the columns where they have no names.
    counted = names == [b"%d" % column for column in range(len(names))] and len(names) > 2 and b"." in rest
    if counted or [re.match(rb"[xyz](?![a-z])", name) and name[:1] for name in names[:3]] == [b"x", b"y", b"z"]:
        return body[:start] + b"\n" + rest, None
    if names[0].isdigit() and len(names) == 1:
        return body[:start] + b"\n" + rest, int(names[0][:18])
    if names[0] and not re.match(rb"[-+.\d]|nan|inf", names[0]):
        number, shown = body[:start].count(b"\n") + 1, brief(line.decode(errors="replace"), 40)
        raise InputError(
            f"{source}, line {number}: '{shown}' is no point, nor are x, y and z its first columns; remove the line, "
            "and columns that stand before x, y and z"
        )
    return body, None


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
            commas = "; its commas stand inside the numbers: write decimal points" if b"," in line else ""
            return InputError(f"{source}, line {number}: a point needs three numbers, not '{shown}'{commas}")
    return InputError(f"{source} is no readable cloud ({brief(error)})")
