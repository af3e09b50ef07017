"""Progress: a bar with a rate for people, lines for logs."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from gmcn import progress
from gmcn.progress import Progress


@pytest.mark.parametrize("transfer", [False, True])
def test_a_log_has_lines_and_no_bar(monkeypatch, caplog, capsys, transfer):
    caplog.set_level(logging.INFO, "gmcn")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with Progress(transfer=transfer) as bar:
        task = bar.add_task("fit digits", total=1000)
        for _ in range(2):
            bar.advance(task, 300)
    assert len(caplog.messages) == 2
    assert caplog.messages[-1].startswith("fit digits: 600 of 1,000, ")
    assert caplog.messages[-1].endswith(" per second")
    assert capsys.readouterr().err == ""


def test_what_is_done_before_long_says_nothing(caplog):
    caplog.set_level(logging.INFO, "gmcn")
    with Progress() as bar:
        assert list(bar.track(iter(range(100)), 100)) == list(range(100))
    assert caplog.messages == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_bar_with_a_rate(monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(progress, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "gmcn")
    with Progress() as bar:
        task = bar.add_task("fit digits", total=10)
        for _ in range(10):
            bar.advance(task)
    [last] = [line for line in terminal.getvalue().splitlines()[-2:] if "10/10" in line]
    assert "/s" in last.rpartition("10/10")[2]
    assert caplog.messages == []
