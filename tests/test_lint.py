"""Each commit is checked as `make lint` checks: the hooks of .pre-commit-config.yaml are its parts, and all of them."""

from __future__ import annotations

import subprocess

import yaml

from tests.conftest import ROOT

HOOKS = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
]


def dry(*command: str) -> list[str]:
    """The commands that make would run."""
    said = subprocess.check_output([*command, "--dry-run", "--no-print-directory"], cwd=ROOT, text=True)
    return said.splitlines()


def test_hooks_are_what_make_lint_runs():
    hooked = [line for hook in HOOKS for line in dry(*hook["entry"].split())]
    assert hooked == dry("make", "-o", ".venv/.installed", "lint")
    assert len(hooked) >= len(HOOKS) > 0


def test_hooks_need_no_internet():
    assert {hook["language"] for hook in HOOKS} == {"system"}
