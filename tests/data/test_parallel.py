"""Shapes loaded by other processes: order, laziness, and processes that end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gmcn.data import parallel
from gmcn.data.parallel import load_all
from gmcn.data.samples import Samples
from gmcn.errors import InputError
from tests.conftest import ROOT


def late(item: int):
    time.sleep(0.02 * (item % 3 == 0))
    if item == 5:
        raise InputError("five")
    return {"points": np.full((2, 3), item, dtype=np.float32)}


def first_of(item: tuple[int, bytes]):
    return late(item[0])


def deadly(item: int):
    os._exit(9)


def samples(load, items):
    return Samples(np.zeros(9, int), np.zeros(9, np.uint8), ["x"] * 9, ["x"], items, load, costly=True)


def test_the_order_is_the_items_and_errors_have_their_place():
    rows = list(load_all(samples(late, lambda: range(9)), 3))
    assert [index for index, row in enumerate(rows) if isinstance(row, InputError)] == [5]
    assert [row["points"][0, 0] for row in rows if not isinstance(row, InputError)] == [0, 1, 2, 3, 4, 6, 7, 8]


def test_items_are_read_only_a_little_ahead():
    read = []

    def items():
        for item in range(100):
            read.append(item)
            yield item

    rows = load_all(samples(late, items), 2)
    next(rows)
    assert len(read) < 10
    rows.close()


def test_of_large_files_fewer_are_read_ahead(monkeypatch):
    monkeypatch.setattr(parallel, "_BYTES", 2500)
    read = []

    def items():
        for item in range(9):
            read.append(item)
            yield item, bytes(1000)

    rows = load_all(samples(first_of, items), 4)
    next(rows)
    assert len(read) == 3
    assert len(list(rows)) == 8


MAIN = """
import os, sys
from tests.data import test_parallel
from gmcn.data.parallel import load_all
if __name__ == "__main__":
    for row in load_all(test_parallel.samples(test_parallel.whose, lambda: range(9)), 2):
        print(*row["pids"], flush=True)
    sys.exit("not killed")
"""


def whose(item: int):
    time.sleep(0 if item < 3 else 600 if item == 5 else 0.1)
    return {"pids": np.array([os.getpid(), os.getppid()])}


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_a_main_one_that_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, env=environment) as main:
        pids = {int(word) for _ in range(3) for word in main.stdout.readline().split()}
        assert len(pids) >= 2  # at least a loader and the server that forked it
        assert all(map(runs, pids))
        main.kill()
        deadline = time.monotonic() + 20
        while any(map(runs, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not any(map(runs, pids))


def test_a_process_that_is_ended_is_told_of():
    with pytest.raises(InputError, match="was killed, perhaps for lack of memory"):
        list(load_all(samples(deadly, lambda: range(9)), 2))
