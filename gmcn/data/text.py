"""Lines of text files, from any program on any system."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from gmcn.errors import InputError, brief

# UTF-32 begins as UTF-16 does, or with two zeros more.
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def without_mark(content: bytes, source: str) -> bytes:
    """The content without UTF-8's byte order mark. :class:`InputError`: the mark is that of UTF-16 or UTF-32."""
    if content.startswith(_WIDE):
        raise InputError(f"{source} is text in UTF-16 or UTF-32; save it as UTF-8 or ASCII")
    return content.removeprefix(codecs.BOM_UTF8)


def plain(content: bytes, source: str) -> bytes:
    """The content :func:`without_mark`, its lines ended by newlines."""
    content = without_mark(content, source)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


class Lines:
    """Words of the lines that are neither empty nor comments (``#``), and the place of the last one for errors.

    Where ``continued``, a line that ends in a backslash goes on in the next one, unless that ends a comment.
    """

    def __init__(self, content: bytes, source: str, *, continued: bool = False):
        self.source, self.number, self._continued = source, 0, continued
        content = plain(content, source)
        self.count = content.count(b"\n") + (not content.endswith(b"\n"))
        self._file = io.BytesIO(content)

    def __iter__(self) -> Iterator[list[bytes]]:
        for line in self._file:
            self.number += 1
            while self._continued and line.endswith(b"\\\n") and b"#" not in line:
                line = line[:-2] + b" " + self._file.readline()
                self.number += 1
            words = line.partition(b"#")[0].split()
            if words:
                yield words

    def error(self, what: str, words: list[bytes] | None = None) -> InputError:
        """The error ``what``, with the file, the line and the ``words`` that stand there."""
        there = "" if words is None else f"'{brief(b' '.join(words[:12]).decode(errors='replace'), 40)}'"
        return InputError(f"{self.source}, line {self.number}: {what}{there}")
