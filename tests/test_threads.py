"""Threads sleep soon where there is no work for them: in our own programs, never in somebody else's."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from gmcn.threads import BRIEF, wait_briefly
from tests.conftest import ROOT

NAMES = (*BRIEF, "KMP_BLOCKTIME", "KMP_LIBRARY")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Python, with these variables and no others of OpenMP."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True)


def told(**variables: str) -> dict[str, str]:
    """The settings that libgomp prints when `gmcn info` loads it."""
    done = run("-m", "gmcn", "info", OMP_DISPLAY_ENV="VERBOSE", **variables)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"(\w+) = '(\w+)'", done.stderr))
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("torch's OpenMP is not libgomp here")
    return found


def test_the_command_says_it_before_torch_is_loaded():
    found = told()
    assert {name: found[name] for name in BRIEF} == BRIEF


@pytest.mark.parametrize(
    ("variables", "spins"),
    [
        ({"GOMP_SPINCOUNT": "70"}, "70"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000"),
        ({"KMP_BLOCKTIME": "1"}, "300000"),
    ],
)
def test_a_user_s_own_setting_wins_and_nothing_is_added_to_it(variables, spins):
    assert told(**variables)["GOMP_SPINCOUNT"] == spins


def test_an_import_changes_no_environment():
    code = (
        "import os\n"
        "before = dict(os.environ)\n"
        "import gmcn.cli, gmcn.ops, gmcn.nn, gmcn.models, gmcn.training, gmcn.inference\n"
        f"print([name for name in {NAMES} if os.environ.get(name) != before.get(name)])"
    )
    done = run("-c", code)
    assert done.stdout == "[]\n", done.stderr


def test_a_program_that_has_loaded_torch_keeps_its_environment(monkeypatch):
    """One that calls the command as a function, say."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", sys)
    wait_briefly()
    assert [name for name in NAMES if name in os.environ] == []


def test_these_tests_run_with_it():
    """Without these settings, two test processes beside each other wait for each other's threads."""
    assert any(name in os.environ for name in NAMES)
