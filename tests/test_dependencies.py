"""Users install the versions that were tested: every dependency, direct or not, has one version in constraints.txt."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What every environment comes with.
GIVEN = {"pip"}
# Rivals, which are left to those who measure against them; not among what `make` installs.
NOT_INSTALLED = {"open3d", "pykeops", "small_gicp"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line) for line in lines if line and line[0] != "#"]
    assert None not in found, "constraints.txt has a line that is no name==version"
    return {canonicalize_name(match[1]): match[2] for match in found}


def asked() -> list[Requirement]:
    project = PROJECT["project"]
    named = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    named += [line for lines in project["optional-dependencies"].values() for line in lines]
    return [found for found in map(Requirement, named) if found.name not in NOT_INSTALLED]


def test_every_dependency_is_pinned_to_a_version_that_is_asked_for():
    pinned = pins()
    wrong = [str(r) for r in asked() if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))]
    assert wrong == []


def test_the_environment_of_conda_has_what_the_stages_need():
    project, environment = PROJECT["project"], yaml.safe_load((ROOT / "envs/gmcn.yaml").read_text())
    *conda, pip = environment["dependencies"]
    names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    found = {Requirement(line) for line in (*conda, *pip["pip"])}
    found = {f"{names.get(one.name, one.name)}{one.specifier}" for one in found}
    needed = {*project["dependencies"], *project["optional-dependencies"]["workflow"]}
    assert {str(Requirement(line)) for line in needed} - found == {"snakemake>=9.20"}  # it starts the jobs


def test_what_they_depend_on_is_pinned():
    """As far as it is installed here."""
    pinned, queue, seen = pins(), asked(), set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        try:
            needs = map(Requirement, metadata.requires(name) or ())
        except metadata.PackageNotFoundError:
            continue
        extras = ["", *requirement.extras]
        queue += [r for r in needs if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
    missing = sorted({name for name, *_ in seen} - pinned.keys() - GIVEN)
    assert missing == []
