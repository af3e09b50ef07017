"""Snakemake can make the targets in README.md and docs/, and the picture of the rules there is up to date."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from snakemake.cli import get_argument_parser

from tests.conftest import ROOT
from tests.docs.reading import all_code, commands, examples

TOGETHER = "mine.yaml"  # what docs/data.md calls the reader's own file


@pytest.fixture(scope="module")
def asked():
    """The arguments of every `snakemake`, and of every `make run` what it hands over."""
    parser, found = get_argument_parser(), []
    for command in commands():
        words = list(command.words[1:])
        targets = [word.removeprefix("TARGET=") for word in words if word.startswith("TARGET=")]
        if command.words[0] == "make" and targets and "..." not in targets[0]:
            words = targets
        elif command.words[0] != "snakemake":
            continue
        found.append(parser.parse_args(words))
    return found


def test_every_documented_target_can_be_made(pristine, asked, tmp_path, monkeypatch):
    # The folders of docs/data.md and docs/reproduction.md, in the reader's home.
    monkeypatch.setenv("HOME", str(tmp_path))
    trees = [each.text for each in all_code() if each.text.startswith(("~/scans/", "~/parts/"))]
    assert len(trees) == 2
    for line in "\n".join(trees).split():
        file = tmp_path / line.removeprefix("~/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    # By the files that a command names: workflow/small.yaml has another folder of results.
    together: dict[tuple[str, ...], set[str]] = {}
    for options in asked:
        own = tuple(str(file) for file in options.configfile or [] if str(file) != TOGETHER)
        # What everything needs is planned in test_targets, and takes a minute.
        together.setdefault(own, set()).update(each for each in options.targets if not each.endswith("/all"))
    assert len(together[()]) > 5
    for files, targets in together.items():
        if files:
            answer = pristine.snakemake("-n", "--configfile", *files, targets=tuple(sorted(targets)))
            assert answer.status == 0, answer.text
        else:
            pristine.plan(*sorted(targets), config=yaml.safe_dump(examples()))


def test_files_that_are_handed_to_snakemake_exist(asked):
    for options in asked:
        files = [*(options.configfile or []), options.profile, options.workflow_profile]
        missing = [file for file in files if file and str(file) != TOGETHER and not (ROOT / file).exists()]
        assert missing == [], missing


def test_the_picture_of_the_rules_is_drawn_from_them():
    page = ROOT / "docs/concepts.md"
    code = "import draw_rulegraph; print(draw_rulegraph.drawn_into(draw_rulegraph.PAGE.read_text()), end='')"
    drawn = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout == page.read_text(), "the rules have changed: make rulegraph"
