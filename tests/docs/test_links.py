"""README.md and docs/ link to what exists; nothing is asked of the internet."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import gmcn
from tests.conftest import ROOT
from tests.docs.reading import PAGES, anchors, links


def fault(page: Path, target: str) -> str | None:
    """The fault of a link, or None."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        fine = parts.scheme in ("http", "https") and "." in parts.netloc
        return None if fine else "is no web address"
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not file.is_relative_to(ROOT) or parts.path.startswith("/"):
        return "leads out of the project"
    if not file.exists():
        return "does not exist"
    if parts.fragment and parts.fragment not in anchors(file):
        return f"names no heading of {file.name}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    faults = [f"{page.name}:{line}: {target} {wrong}" for line, target in links(page) if (wrong := fault(page, target))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("b.md", None),
        ("b.md#two-words", None),
        ("#one", None),
        ("https://example.org/a%20b", None),
        ("c.md", "does not exist"),
        ("b.md#three", "names no heading of b.md"),
        ("#two-words", "names no heading of a.md"),
        ("../../etc/passwd", "leads out of the project"),
        ("https:/example.org", "is no web address"),
        ("htps://example.org", "is no web address"),
    ],
)
def test_the_checker_sees(tmp_path, monkeypatch, target, wrong):
    monkeypatch.setattr("tests.docs.test_links.ROOT", tmp_path)
    (tmp_path / "a.md").write_text(f"# One\n[x]({target})\n")
    (tmp_path / "b.md").write_text("# `Two` words!\n")
    [(line, found)] = links(tmp_path / "a.md")
    assert (line, fault(tmp_path / "a.md", found)) == (2, wrong)


def test_the_site_names_pages_that_exist():
    # Not safe_load: a tag of this file stands for a function of the site's tools, which may not be installed.
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2].partition("\n\n")[0])
    named = [page for entry in nav for page in entry.values()]
    assert named[0] == "index.md"  # made of README.md
    assert [page for page in named[1:] if not (ROOT / "docs" / page).is_file()] == []


def test_what_is_cited_is_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == project["version"] == gmcn.__version__
    assert (cited["title"], cited["license"]) == (project["name"], project["license"])
