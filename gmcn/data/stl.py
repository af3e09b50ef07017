"""Triangles in .stl, binary or ASCII."""

from __future__ import annotations

import logging
from array import array

import numpy as np

from gmcn.data.text import Lines
from gmcn.errors import InputError

_LOG = logging.getLogger(__name__)
_HEADER = 84  # text, and the number of facets
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
# A facet in ASCII, a line of each, of which the words after these are numbers.
_LOOP = (b"facet normal", b"outer loop", *[b"vertex"] * 3, b"endloop", b"endfacet")


def parse_stl(content: bytes, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [3 T, 3] float64, every facet's own, and triangles [T, 3] int64.

    A file is binary where it is large enough for the facets that it promises as such: text promises billions. More
    bytes behind the last facet than a transfer adds are counted in a warning. A header may begin with "solid".

    Raises:
        InputError: too short for its facets, or a line of ASCII that is not understood.
    """
    promised = int.from_bytes(content[_HEADER - 4 : _HEADER], "little")
    behind = len(content) - _HEADER - promised * _FACET.itemsize
    if len(content) >= _HEADER and behind >= 0:
        if behind >= _FACET.itemsize:
            _LOG.warning("%s: %d bytes behind the last of its %d facets are not read", source, behind, promised)
        corners = np.frombuffer(content, _FACET, promised, _HEADER)["corners"].astype(np.float64)
    elif b"facet" in content[:4096].lower() or content.lstrip()[:5].lower() == b"solid":
        corners = _parse_ascii(content, source)
    else:
        raise InputError(f"{source} is no .stl, or it is truncated: there are fewer than {promised:,} facets")
    return corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)


def _parse_ascii(content: bytes, source: str) -> np.ndarray:  # [T, 3, 3]
    lines = Lines(content, source)
    corners, expected, solid = array("d"), 0, False
    for words in lines:
        kind = words[0].lower()
        if expected == 0 and kind in (b"solid", b"endsolid"):
            solid = kind == b"solid"
            continue
        names = _LOOP[expected].split()
        if [word.lower() for word in words[: len(names)]] != names:
            raise lines.error(f"expected '{_LOOP[expected].decode()}', found ", words)
        if kind == b"vertex":
            try:
                x, y, z = map(float, words[1:])
            except ValueError:
                raise lines.error("a vertex needs three numbers, not ", words[1:]) from None
            corners.extend((x, y, z))
        expected = (expected + 1) % len(_LOOP)
    if solid or expected:
        raise lines.error("the file ends before 'endsolid'; is it truncated?")
    return np.array(corners).reshape(-1, 3, 3)
