"""The output of a command: to the terminal as it is, and line by line to a log file."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

ERROR = "gmcn: error: "  # begins a command's last line if it fails
LEFT = "; resumes from "  # in that of a command that a signal asked to leave
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tee:
    """A terminal's stream whose finished lines also go to a log, without colours and progress bars' redrawing."""

    def __init__(self, stream: TextIO, log: TextIO):
        self._stream = stream
        self._log = log
        self._line = ""

    def write(self, text: str) -> int:
        *finished, self._line = (self._line + text).split("\n")
        with contextlib.suppress(OSError):  # where the disk is full, that is not what ends a stage
            for line in finished:
                self._log.write(_ESCAPE.sub("", line).rsplit("\r", 1)[-1] + "\n")
        # A bar that redraws itself for hours never ends its line.
        self._line = self._line[self._line.rfind("\r") + 1 :]
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _StderrHandler(logging.StreamHandler):
    # sys.stderr is looked up anew for every line: progress bars replace it while they are on the screen.
    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        pass


@contextlib.contextmanager
def logging_to(path: Path | None, level: int = logging.INFO) -> Iterator[None]:
    """Show the package's log lines from ``level`` up on stderr; add the output of the block to ``path``."""
    logger = logging.getLogger("gmcn")
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.removeHandler, handler)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            log = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  (closed by the stack)
            stack.callback(_close, log)
            stack.enter_context(contextlib.redirect_stdout(Tee(sys.stdout, log)))
            stack.enter_context(contextlib.redirect_stderr(Tee(sys.stderr, log)))
        try:
            yield
        except Exception:  # Python prints it when the log is closed
            if path is not None:
                traceback.print_exc(file=log)
            raise


def _close(log: TextIO) -> None:
    with contextlib.suppress(OSError):  # as in Tee.write
        log.close()
