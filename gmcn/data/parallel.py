"""Shapes loaded by several processes at once, in the order in which they were asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from gmcn.data.samples import Row, Samples, attempt
from gmcn.errors import InputError

# Items handed out at once: enough to keep every process busy, but of large files only a few, for memory's sake.
_AHEAD = 2
_BYTES = 256 << 20


def load_all(samples: Samples, processes: int = 1) -> Iterator[Row | InputError]:
    """The shapes in order, each as tensors or as a sentence about its fault; the number of processes changes no bit."""
    if processes == 1 or not samples.costly:
        yield from samples
        return
    # Never a fork of this process, which has threads; the server imports the package once for all of them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gmcn.data"])
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
    waiting = deque()
    try:
        for item in samples.read():
            waiting.append((pool.submit(attempt, samples.load, item), _size(item)))
            while len(waiting) > _AHEAD * processes or sum(size for _, size in waiting) > _BYTES:
                yield waiting.popleft()[0].result()
        while waiting:
            yield waiting.popleft()[0].result()
    except BrokenProcessPool:
        raise InputError(
            "a process that loads shapes was killed, perhaps for lack of memory; use fewer of them (--threads 1)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _size(item: Any) -> int:
    """Bytes of the file's content that an item carries, if it does."""
    return sum(len(part) for part in item if isinstance(part, bytes)) if isinstance(item, tuple) else 0


def _prepare() -> None:
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # Of a main process that is killed nothing else would tell: the others wait for work for ever.
    multiprocessing.parent_process().join()
    os._exit(1)
