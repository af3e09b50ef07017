"""Sets how threads wait for work. Imports nothing heavy: the settings count only if torch is not loaded yet."""

from __future__ import annotations

import os
import sys

# OpenMP's threads wait for their next work in a loop, and with libgomp, which torch's wheels bring, for up to tens of
# milliseconds: as soon as another process wants the core, working threads wait for idle ones. Five thousand turns are
# some 250 microseconds: longer than it takes from one operation to the next.
BRIEF = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}
_ALSO = ("KMP_BLOCKTIME", "KMP_LIBRARY")  # of Intel's and LLVM's OpenMP


def wait_briefly() -> None:
    """Have this process's threads, and its children's, sleep soon where there is no work for them.

    For programs that are ours alone, before torch is loaded (docs/performance.md); afterwards, and where the user has
    set any of this himself, nothing is changed.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in (*BRIEF, *_ALSO)):
        os.environ.update(BRIEF)
