"""README.md and docs/*.md: their links, headings, blocks of code and commands."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gmcn import config
from tests.conftest import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# Placeholders in examples for a name of the reader's own.
PLACEHOLDERS = {"<data set>": "digits", "<variant>": "small", "<fit>": "kmeans16", "<rival>": "ntk"}
PROGRAMS = ("gmcn", "make", "pip", "pytest", "python", "snakemake")


@dataclass(frozen=True)
class Code:
    """Text between backticks."""

    page: Path
    line: int
    text: str
    language: str | None = None  # of a block; None within a sentence

    def __str__(self) -> str:
        place = f"{self.page.relative_to(ROOT)}:{self.line}"
        return place if self.language is not None else f"{place}: {self.text}"


@dataclass(frozen=True)
class Command:
    """One command, in the words that a shell would make of it."""

    code: Code
    variables: tuple[str, ...]  # NAME=value before the program
    words: tuple[str, ...]  # the program first

    def __str__(self) -> str:
        return f"{self.code.page.relative_to(ROOT)}:{self.code.line}: {shlex.join(self.words)}"


def tokens(page: Path) -> Iterator[tuple[int, Token]]:
    """All tokens of a page, those within sentences too, with their line."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        line = token.map[0] + 1 if token.map else 0
        yield line, token
        yield from ((line, child) for child in token.children or [])


def code(page: Path) -> list[Code]:
    """All code of a page."""
    found = []
    for line, token in tokens(page):
        if token.type == "fence":
            found.append(Code(page, line + 1, token.content, token.info))
        elif token.type == "code_inline":
            found.append(Code(page, line, token.content))
    return found


@functools.cache
def all_code() -> list[Code]:
    return [each for page in PAGES for each in code(page)]


def links(page: Path) -> list[tuple[int, str]]:
    """Targets of all links and images of a page, with their line."""
    pairs = [(line, token.attrGet("href") or token.attrGet("src")) for line, token in tokens(page)]
    return [(line, str(target)) for line, target in pairs if target]


def anchors(page: Path) -> set[str]:
    """The names that a link may have after #: GitHub's names of the headings."""
    every = [token for _, token in tokens(page)]
    headings = [after.content for token, after in pairwise(every) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[Command]:
    """Every command of ours: each line of the blocks for a shell, and within sentences what begins like one."""
    return [command for each in all_code() for command in _commands_of(each)]


def _commands_of(each: Code) -> Iterator[Command]:
    if each.language not in (None, "sh"):
        return
    text = each.text.replace("\\\n", " ")
    for placeholder, example in PLACEHOLDERS.items():
        text = text.replace(placeholder, example)
    for number, line in enumerate(text.splitlines()):
        try:
            words = shlex.split(line, comments=each.language is not None)
        except ValueError:
            if each.language is None:  # prose, such as C'C
                continue
            raise
        count = next((i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)), len(words))
        variables, words = words[:count], words[count:]
        if len(words) > 1 and words[0] in PROGRAMS:
            yield Command(Code(each.page, each.line + number, line, each.language), tuple(variables), tuple(words))


def examples() -> dict:
    """The blocks of YAML that are pieces of a configuration, as one configuration of a user."""
    blocks = [yaml.safe_load(each.text) for each in all_code() if each.language == "yaml"]
    sections = set(json.loads(config.SCHEMA.read_text())["properties"])
    merged: dict = {}
    for block in blocks:
        if set(block) <= sections:
            merged = config.merge(merged, block)
    merged.pop("include", None)  # files of the reader's
    return merged


@functools.cache
def settings() -> dict:
    """The project's configuration with the examples on top, checked."""
    return config.check(config.merge(config.load(ROOT / "config.yaml"), examples()), "the examples in docs")
