"""Runs commands of gmcn, each in a process of its own that has everything imported, with a fault if asked for.

One JSON object per line: ``folder``, ``arguments``, ``more`` of them, ``fault``; answered by one with ``status``
and ``text``.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from pathlib import Path

import gmcn.data.sampling
import gmcn.fitting.stage
import gmcn.papers.gmcn.figures
import gmcn.papers.gmcn.least_squares
import gmcn.pictures.fit_figures

# What the commands import themselves is imported here, once for all.
import gmcn.results.evaluation
import gmcn.results.footprint_stage
import gmcn.results.probing
import gmcn.results.summary
import gmcn.results.tables
import gmcn.training.stage  # noqa: F401
from gmcn import cli, tracking

BYTES = 200  # what fits onto the full disk: the mark of a running job, but no artifact
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
CANNOT = 77  # status: this fault cannot be made here


def signal_before_renaming(number: int, output: str) -> None:
    """At the last moment at which ``output`` is not in its place yet, the process gets a signal."""
    replace = os.replace

    def dying(source, target):
        if Path(target).name == Path(output).name:
            os.kill(os.getpid(), number)
        replace(source, target)

    os.replace = dying


def signal_at_the_end(number: int) -> None:
    """When everything is written and the tracking run is closed, the process gets a signal."""
    tracking.Run.end = lambda *_: os.kill(os.getpid(), number)


def fill_disk(size: int = BYTES) -> None:
    """No file may grow beyond ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def make_read_only(folder: str) -> None:
    """A mount that only this process sees; permissions would not stop root."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = folder.encode()
    done = libc.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if os.getuid() else 0)) == 0
    done = done and libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) == 0
    done = done and libc.mount(path, path, None, _MS_BIND, None) == 0
    if not (done and libc.mount(None, path, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None) == 0):
        os._exit(CANNOT)


FAULTS = {
    "signal": signal_before_renaming,
    "signal at the end": signal_at_the_end,
    "full": fill_disk,
    "read only": make_read_only,
}


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        task = json.loads(line)
        said, writes = os.pipe()  # a file would be as full as the disk
        child = os.fork()
        if child == 0:
            os.chdir(task["folder"])
            os.dup2(writes, sys.stdout.fileno())
            os.dup2(writes, sys.stderr.fileno())
            name, *values = task["fault"] or [None]
            if name:
                FAULTS[name](*values)
            try:
                status = cli.main([*task["arguments"], *task["more"]])
            except SystemExit as error:
                status = error.code
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        os.close(writes)
        status, text = end_of(child, said)
        os.close(said)
        print(json.dumps({"status": status, "text": text}), flush=True)


def end_of(child: int, said: int) -> tuple[int, str]:
    """Status and last words of a process; its own children may hold on to the pipe for longer."""
    text, ended = b"", None
    while True:
        if select.select([said], [], [], 0 if ended else 0.05)[0] and (part := os.read(said, 1 << 16)):
            text += part
        elif ended:
            return os.waitstatus_to_exitcode(ended[1]), text.decode(errors="replace")
        elif (found := os.waitpid(child, os.WNOHANG))[0]:
            ended = found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve()
