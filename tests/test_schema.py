"""The configuration's schema is what the declarations say, and these agree with the code beside them."""

from __future__ import annotations

import json
import re
import typing

import pytest
from jsonschema import Draft202012Validator

from gmcn import schema
from gmcn.config import SCHEMA, resolving, sections, tables
from gmcn.declared import options
from gmcn.errors import InputError
from gmcn.fitting import METHODS, FitSettings
from gmcn.fitting.settings import NETWORK, REDUCTION
from gmcn.models import DEFAULT_KIND, NETWORKS
from gmcn.papers.gmcn.least_squares import SOLVERS

COMMITTED = json.loads(SCHEMA.read_text())


def words(declaration: type, name: str) -> tuple[str, ...]:
    """The choices of an option."""
    return typing.get_args(typing.get_args(options(declaration)[name].annotation)[0])


def test_the_committed_schema_is_what_the_declarations_say():
    schema.check()
    Draft202012Validator.check_schema(COMMITTED)


def test_another_schema_is_refused_in_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "config.schema.json"
    path.write_text(SCHEMA.read_text().replace("Passes over", "Passes through"))
    monkeypatch.setattr(schema, "SCHEMA", path)
    with pytest.raises(
        InputError, match=r"is not what the declarations say; write it anew with `python -m gmcn.schema`"
    ):
        schema.check()


def test_declarations_and_code_know_the_same_names():
    assert resolving.DEFAULT_KIND == DEFAULT_KIND
    assert options(FitSettings)["method"].default == resolving.DEFAULT_METHOD
    assert METHODS["eckart"]["branching"] == resolving.BRANCHING
    assert words(FitSettings, "method") == (*METHODS, REDUCTION, NETWORK)
    assert set().union(*METHODS.values()) < set(options(FitSettings))
    assert words(sections.SolverRow, "solver") == tuple(SOLVERS)


def test_every_column_and_every_kind_of_network_is_explained():
    columns = {name.partition("<")[0] for name in tables.COLUMNS}
    columns |= {re.sub("_(chamfer|emd)$", "_", name) for own in tables.OF_TASKS.values() for name in own}
    assert not columns - set(re.findall(r"\w+", typing.get_args(sections.Metric)[1]))
    assert not NETWORKS.keys() - set(re.findall(r"[\w-]+", typing.get_args(schema.Network)[1].meaning))


def test_every_key_of_the_schema_is_described():
    missing = []

    def visit(node: object, path: str) -> None:
        if not isinstance(node, dict):
            return
        for key, child in node.get("properties", {}).items():
            if child is not True:  # the kind, which is described where it is chosen
                missing.extend([] if child.keys() & {"$ref", "description"} else [f"{path}.{key}"])
                visit(child, f"{path}.{key}")
        for key in ("items", "additionalProperties"):
            visit(node.get(key), f"{path}.{key}")

    visit(COMMITTED, "")
    for name, definition in COMMITTED["$defs"].items():
        assert definition.get("description"), name
        visit(definition, name)
    assert missing == []
