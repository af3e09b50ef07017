"""Imports point one way: no circle, also not through imports within functions, and no arrow back up the house."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the ground up: a room may know those before it. Rooms of one line may know each other, but in no circle.
FLOORS = (
    (
        "errors",
        "addresses",
        "faults",
        "declared",
        "precision",
        "folders",
        "locks",
        "console",
        "progress",
        "kernel_sources",
        "launching",
        "threads",
        "stages",
    ),
    ("artifacts", "mixture"),
    ("ranks", "running", "tracking"),
    ("ops",),
    ("build_info",),
    ("device",),
    ("nn", "data", "fitting"),
    ("optim", "registration"),
    ("models",),
    ("pictures",),
    ("tasks",),
    ("config",),
    ("training", "status"),
    ("results", "papers"),
    ("schema",),
    ("inference",),
    ("commands",),
    ("cli",),
    ("__main__",),
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted((ROOT / "gmcn").rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """The modules of gmcn that a module imports anywhere in its text, packages by what is taken of them."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            taken = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in MODULES else node.module for name in taken}
    return {name for name in found if name in MODULES and name != module}


# The package itself is a front, which imports whatever somebody asks it for.
GRAPH = {module: imports_of(module) - {"gmcn"} for module in MODULES if module != "gmcn"}


def test_no_import_goes_in_a_circle():
    TopologicalSorter(GRAPH).prepare()  # CycleError names the circle


def floor_of(module: str) -> int:
    room = module.split(".")[1]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_its_floor():
    rooms = {module.split(".")[1] for module in GRAPH}
    assert rooms == {room for rooms in FLOORS for room in rooms}


@pytest.mark.parametrize("module", GRAPH)
def test_no_import_runs_back_up(module):
    assert not [other for other in GRAPH[module] if floor_of(other) > floor_of(module)]
