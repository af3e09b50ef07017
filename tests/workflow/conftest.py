"""A copy of the workflow in which tests may edit files and pretend that results were made."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

LONGEST = 900.0  # seconds of a run of Snakemake
COPIED = ("Snakefile", "config.yaml", "workflow", "profiles", "envs", "gmcn", "csrc")


@dataclass
class Answer:
    """The output of Snakemake."""

    status: int
    text: str

    @property
    def jobs(self) -> dict[str, int]:
        """How many jobs of each rule it wants to run."""
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", self.text, re.DOTALL)
        return {line.split()[0]: int(line.split()[1]) for line in table[1].splitlines()} if table else {}


@functools.cache
def imported() -> Any:
    """A process with Snakemake, which runs it as often as it is asked to (:mod:`tests.workflow.forking`)."""
    script = Path(__file__).with_name("forking.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, script], **pipes, text=True, start_new_session=True)


def ask(task: dict[str, Any], seconds: float) -> int:
    """Let it run Snakemake; the exit status. Whatever goes wrong ends it, so that the next run gets its own answer."""
    server, answer = imported(), ""
    try:
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        if select.select([server.stdout], [], [], seconds)[0]:
            answer = server.stdout.readline()
    finally:
        if not answer:
            imported.cache_clear()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert answer, f"no answer in {seconds:g} s: {Path(task['output']).read_text(errors='replace')}"
    return int(answer)


class Checkout:
    """A checkout that tests may change."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str, targets: tuple[str, ...] = (), config: str = "") -> Answer:
        """Run Snakemake; ``config`` is YAML that is merged into config.yaml, as with --configfile."""
        call = self._call(arguments, targets, config)
        with tempfile.NamedTemporaryFile(mode="r", errors="replace") as said:
            task = {
                "folder": str(call["cwd"]),
                "arguments": call["args"][3:],
                "environment": call["env"],
                "output": said.name,
            }
            return Answer(ask(task, LONGEST), said.read())

    def start(
        self, *arguments: str, targets: tuple[str, ...] = (), config: str = "", output: Any = subprocess.DEVNULL
    ) -> subprocess.Popen:
        """Start it as the leader of a process group, to be interrupted; what it says goes to ``output``."""
        call = self._call(arguments, targets, config)
        return subprocess.Popen(**call, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def _call(self, arguments: tuple[str, ...], targets: tuple[str, ...], config: str) -> dict[str, Any]:
        if config:
            (self.folder / "test.yaml").write_text(config)
            arguments = (*arguments, "--configfile", "test.yaml")
        return {
            "args": [sys.executable, "-m", "snakemake", *arguments, "--", *targets],
            "cwd": self.folder,
            "env": {**os.environ, "PYTHONPATH": str(self.folder)},
        }

    def plan(self, *targets: str, config: str = "") -> dict[str, int]:
        """The jobs of a dry run, by rule."""
        answer = self.snakemake("-n", targets=targets, config=config)
        assert answer.status == 0, answer.text
        assert answer.jobs or "Nothing to be done" in answer.text, answer.text
        return answer.jobs

    def pretend(self, *targets: str, files: list[str], config: str = "") -> None:
        """Make Snakemake believe that it made ``files`` on the way to ``targets``."""
        for file in files:
            path = self.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
        answer = self.snakemake("--touch", "--forceall", "--no-hooks", targets=targets, config=config)
        assert answer.status == 0, answer.text


def copied(folder: Path) -> Checkout:
    """A copy, in an empty folder, of what the workflow consists of."""
    for name in COPIED:
        source = ROOT / name
        if source.is_symlink():
            (folder / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return Checkout(folder)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy that no test changes."""
    return copied(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def checkout(pristine, tmp_path):
    """One that a test may run and change."""
    shutil.copytree(pristine.folder, tmp_path / "checkout", symlinks=True)
    return Checkout(tmp_path / "checkout")
