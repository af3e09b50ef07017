"""The process that runs Snakemake for other tests answers for the run that was asked for, also after a failure."""

from __future__ import annotations

import os

import pytest

from tests.workflow.conftest import ask, imported


def test_a_run_that_takes_too_long_is_ended_and_the_next_has_its_own_answer(tmp_path):
    (tmp_path / "Snakefile").write_text("import time\ntime.sleep(config.get('wait', 0))\nrule all:\n    output: 'x'\n")
    task = {"folder": str(tmp_path), "environment": dict(os.environ), "output": str(tmp_path / "said")}
    first = imported().pid
    with pytest.raises(AssertionError, match="no answer in 3 s"):
        ask({**task, "arguments": ["-n", "--config", "wait=60"]}, 3)
    assert ask({**task, "arguments": ["-n"]}, 60) == 0
    assert imported().pid != first
    assert "all" in (tmp_path / "said").read_text()
    assert ask({**task, "arguments": ["-n", "nothing"]}, 60) == 1
    assert "MissingRuleException" in (tmp_path / "said").read_text()
