"""Files that a configuration includes: what wins, where they are looked for, and what is said about those that fail."""

from __future__ import annotations

import re

import pytest
import yaml

from gmcn import config
from gmcn.errors import InputError
from tests.config.examples import REAL, SMALL
from tests.conftest import ROOT


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files below an empty folder, which is not the working directory; returns it."""

    def files(**contents: str):
        for name, content in contents.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return files


def test_what_is_included_lies_below_the_file_and_below_every_overlay(write):
    folder = write(
        own="include: [more/low.yaml, more/high.yaml]\nx: {own: 0}\ny: own",
        more__low="x: {own: 1, low: 1, high: 1, deep: 1, other: 1}",
        more__high="include: [deep.yaml]\nx: {own: 2, high: 2, other: 2}",
        more__deep="x: {own: 3, low: 3, high: 3, deep: 3}\ny: deep",
        overlay="include: [more/deep.yaml, other.yaml]\ny: overlay",
        other="x: {own: 4, other: 4}\ny: other",
    )
    own, overlay = folder / "own.yaml", folder / "overlay.yaml"
    assert config.together(own) == {"x": {"own": 0, "low": 3, "high": 2, "deep": 3, "other": 2}, "y": "own"}
    both = config.together(own, overlay)
    assert both == {"x": {"own": 0, "low": 3, "high": 2, "deep": 3, "other": 4}, "y": "overlay"}
    assert list(both["x"]) == ["own", "low", "high", "deep", "other"]  # own names are listed first


def test_a_variant_may_be_based_on_an_included_one_and_the_other_way_round(write):
    included = {**SMALL, "variants": {"base": SMALL["variants"]["base"], "heir": {"base": "child"}}}
    own = {"include": ["more.yaml"], "variants": {"child": SMALL["variants"]["child"]}}
    folder = write(more=yaml.safe_dump(included), own=yaml.safe_dump(own))
    loaded = config.load(folder / "own.yaml")
    assert config.resolve(loaded, "digits", "heir") == config.resolve(SMALL, "digits", "child")
    assert list(loaded["variants"]) == ["child", "base", "heir"]


def test_ours_may_be_included_from_anywhere(write):
    own = {"include": [str(ROOT / "config.yaml")], "variants": {"fast": {"base": "small"}}, "targets": ["digits_fast"]}
    loaded = config.load(write(own=yaml.safe_dump(own)) / "own.yaml")
    assert loaded["variants"].keys() == REAL["variants"].keys() | {"fast"}
    assert loaded["targets"] == ["digits_fast"]
    assert loaded["tables"] == REAL["tables"]


def test_a_link_to_a_file_includes_what_the_file_includes(write):
    folder = write(there__own="include: [more.yaml]", there__more="x: 1")
    (folder / "link.yaml").symlink_to(folder / "there/own.yaml")
    assert config.together(folder / "link.yaml") == {"x": 1}


@pytest.mark.parametrize(
    ("own", "part"),
    [
        ("include: [b.yaml]", r"include each other in a circle: \S+/b\.yaml -> \S+/c\.yaml -> \S+/b\.yaml$"),
        ("include: [own.yaml]", r"in a circle: \S+/own\.yaml -> \S+/own\.yaml$"),
        ("include: [no.yaml]", r"own\.yaml includes no\.yaml, but \S+/no\.yaml does not exist$"),
        ("include: [~nobody-of-this-name/b.yaml]", r"own\.yaml includes '~nobody\S+', which cannot be a file"),
        ('include: ["\\0"]', r"own\.yaml includes '\\x00', which cannot be a file"),
        ("include: b.yaml", r"own\.yaml: 'include' is 'b\.yaml', but must be a list of file names"),
        ("include: [{a: 1}]", r"own\.yaml: 'include' is \[\{'a': 1\}\], but must be a list"),
        ("include: [twice.yaml]", r"twice\.yaml says 'a' twice in one place"),
    ],
)
def test_what_cannot_be_included_is_one_sentence(write, own, part):
    folder = write(own=own, b="include: [c.yaml]", c="include: [b.yaml]", twice="a: 1\na: 2")
    with pytest.raises(InputError) as error:
        config.load(folder / "own.yaml")
    assert re.search(part, str(error.value)), error.value
    assert "\n" not in str(error.value)


def test_a_mapping_has_no_folder_to_include_from():
    with pytest.raises(InputError, match="'include' is read from files: name the file with --configfile or --config"):
        config.check({**SMALL, "include": ["more.yaml"]})
