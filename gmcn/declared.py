"""Settings declared once: types, bounds and meaning stand at a dataclass's fields or a constructor's parameters.

    epochs: Annotated[int, at_least(1), "Passes over the training set."] = 60

``Literal`` lists what may be chosen, ``X | None`` allows null, ``tuple[X, X]`` is a list of two. :func:`read` and
:func:`check` hold values against a declaration, :func:`schema_of` writes it as a JSON schema: that of the configuration
is made of all declarations (:mod:`gmcn.schema`). Nothing here needs torch, or jsonschema, which a node that only trains
may lack.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union

from gmcn.errors import InputError
from gmcn.faults import first_fault

T = TypeVar("T")
Declaration = type[Any]  # a dataclass, or a class whose constructor declares


class Keyword(NamedTuple):
    """One keyword of JSON schema, for an annotation."""

    name: str
    value: Any


at_least = functools.partial(Keyword, "minimum")
at_most = functools.partial(Keyword, "maximum")
above = functools.partial(Keyword, "exclusiveMinimum")
below = functools.partial(Keyword, "exclusiveMaximum")
matching = functools.partial(Keyword, "pattern")  # the description says in words how such text looks
at_most_items = functools.partial(Keyword, "maxItems")
WRITTEN = Keyword("minLength", 1)  # text that is not empty
FILLED = Keyword("minItems", 1)
DISTINCT = Keyword("uniqueItems", True)
# Of a parameter that the data or the training give: no key of the configuration.
DERIVED = Keyword("derived", True)
# The default of a key that may be left out, but has no null.
OPTIONAL: Any = None


def one_of(*keys: str) -> dict[str, Any]:
    """For a declaration's ``RULES``: exactly one of these keys is there."""
    return {"oneOf": [{"required": [key]} for key in keys]}


def together(*keys: str) -> dict[str, Any]:
    """For a declaration's ``RULES``: all of these keys are there, or none."""
    return {"dependentRequired": {key: [other for other in keys if other != key] for key in keys}}


SEEDS = (at_least(0), at_most(2**32 - 1))  # what NumPy and Lightning take
Seed = Annotated[int, *SEEDS, "Seed of every random draw of this step."]


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """For an annotation: a mapping whose ``key`` says which declaration its other keys are of.

    One that does not say it is of ``default``; without a default it must, or (``partial``) somebody else says it, as
    for the network of a variant its base does. Then nothing else is required of it either.
    """

    key: str
    meaning: str
    members: Mapping[str, Declaration]
    default: str | None = None
    partial: bool = False

    def schema(self, shared: dict[str, Any] | None) -> dict[str, Any]:
        kind = {"description": self.meaning, "enum": list(self.members)}
        rules = []
        for name, member in self.members.items():
            says = {} if name == self.default else {"required": [self.key]}
            then = _object(member, shared, {self.key: True}, self.partial)
            rules.append({"if": {**says, "properties": {self.key: {"const": name}}}, "then": then})
        must = {} if self.partial or self.default else {"required": [self.key]}
        return {"type": "object", **must, "properties": {self.key: kind}, "allOf": rules}


def read(declaration: type[T], values: Any, where: str) -> T:
    """The dataclass made of a mapping; raises as :func:`check` does."""
    check(declaration, values, where)
    return declaration(**values)


def check(declaration: Declaration, values: Any, where: str) -> None:
    """Raise one sentence, an :class:`InputError` that begins with ``where``, for the first value that cannot be."""
    if (sentence := first_fault(_complete(declaration), values)) is not None:
        raise InputError(f"{where}: {sentence}")


def defaults(declaration: Declaration) -> dict[str, Any]:
    """The values of what is left out, by name."""
    return {name: option.default for name, option in options(declaration).items() if option.default is not option.empty}


@functools.cache
def options(declaration: Declaration) -> dict[str, inspect.Parameter]:
    """Fields or parameters by name, with their annotations resolved."""
    signed = declaration if dataclasses.is_dataclass(declaration) else declaration.__init__
    hints = typing.get_type_hints(signed, include_extras=True)
    parameters = inspect.signature(declaration).parameters
    return {name: parameter.replace(annotation=hints[name]) for name, parameter in parameters.items()}


@functools.cache
def _complete(declaration: Declaration) -> dict[str, Any]:
    return _object(declaration, None, derived=True)


def schema_of(kind: Any, shared: dict[str, Any] | None = None) -> dict[str, Any]:
    """JSON schema of a type; with ``shared``, declarations are put there under their names and referred to."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _annotated(*arguments, shared=shared)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _either([schema_of(argument) for argument in arguments])
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if origin in (list, tuple, collections.abc.Sequence):
        fixed = origin is tuple and arguments[-1] is not ...
        exactly = {"minItems": len(arguments), "maxItems": len(arguments)} if fixed else {}
        return {"type": "array", **exactly, "items": schema_of(arguments[0], shared)}
    if origin in (dict, collections.abc.Mapping):
        names = {} if arguments[0] is str else {"propertyNames": schema_of(arguments[0], shared)}
        return {"type": "object", **names, "additionalProperties": schema_of(arguments[1], shared)}
    return _object(kind, shared)


_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def _annotated(kind: Any, *notes: Any, shared: dict[str, Any] | None) -> dict[str, Any]:
    choice = next((note for note in notes if isinstance(note, Choice)), None)
    schema = choice.schema(shared) if choice else schema_of(kind, shared)
    # A keyword is a pair of its name and value, and text is the description.
    return schema | dict(("description", note) if isinstance(note, str) else note for note in notes if note != choice)


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Any of several: their types together, and each keyword, which speaks of one type only."""
    both = {key: value for schema in schemas for key, value in schema.items()}
    if "enum" in both:  # words, or null
        return {**both, "type": ["string", "null"], "enum": [*both["enum"], None]}
    return {**both, "type": [schema["type"] for schema in schemas]}


def _object(
    declaration: Declaration,
    shared: dict[str, Any] | None,
    more: Mapping[str, Any] | None = None,
    partial: bool = False,
    derived: bool = False,
) -> dict[str, Any]:
    """Schema of a mapping to the declaration's options; ``more`` are properties besides, first."""
    name = declaration.__name__
    if shared is not None and name in shared:
        return {"$ref": f"#/$defs/{name}"}
    properties, required = dict(more or {}), []
    if shared is not None:
        shared[name] = None  # its place comes before those of its parts
    for key, option in options(declaration).items():
        schema = schema_of(option.annotation, shared)
        if schema.pop("derived", False) and not derived:
            continue
        if option.default is option.empty:
            required.append(key)
        elif option.default is not None:
            schema["default"] = option.default
        properties[key] = schema
    retired = {} if derived else getattr(declaration, "retired", {})
    for key, value in retired.items():
        properties[key] = {"description": "No option any more: what older files may say.", "enum": [value]}
    schema = {"description": (inspect.getdoc(declaration) or "").partition("\n\n")[0].replace("\n", " ")}
    schema |= {"type": "object", "additionalProperties": False}
    schema |= {"required": required} if required and not partial else {}
    schema |= {"properties": properties, **getattr(declaration, "RULES", {})}
    if shared is None:
        return schema
    shared[name] = schema
    return {"$ref": f"#/$defs/{name}"}
