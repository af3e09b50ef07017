"""Describes in one sentence why a value does not fit a JSON schema, for the person who wrote it.

:func:`sentence` serves what jsonschema finds in a configuration, and what :func:`first_fault` finds in the settings
of a class: that knows the few keywords of :mod:`gmcn.declared`, and refuses NaN and infinity, which JSON lacks.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

TYPES = {
    "object": "a mapping of keys to values",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
}


class Fault(NamedTuple):
    """A ``keyword`` of ``schema`` that ``value``, found at ``path``, does not fit."""

    path: Sequence[str | int]
    keyword: str
    schema: Mapping[str, Any]
    value: Any


def sentence(fault: Fault) -> str:
    """The place, the fault, and a value that would be allowed."""
    path = ".".join(map(str, fault.path))
    within = f" in '{path}'" if path else ""
    keyword, schema, value = fault.keyword, fault.schema, _short(fault.value)
    if keyword == "additionalProperties":
        return _unknown_key(fault.value, sorted(schema.get("properties", {})), path)
    if keyword == "oneOf":
        keys = " and ".join(f"'{choice['required'][0]}'" for choice in schema[keyword])
        return f"'{path}' needs exactly one of {keys}"
    if keyword == "required":
        missing = next(key for key in schema[keyword] if key not in fault.value)
        return f"the key '{missing}' is missing{within}"
    if keyword == "dependentRequired":
        pairs = ((key, other) for key, others in schema[keyword].items() for other in others)
        key, missing = next(pair for pair in pairs if pair[0] in fault.value and pair[1] not in fault.value)
        return f"the key '{missing}' is missing{within}, which goes with '{key}'"
    if keyword == "propertyNames":
        return f"the name {value}{within} is not allowed: {schema['description']}"
    if keyword == "pattern":
        wanted = schema.get("description", f"it must match {schema[keyword]}")
        return f"'{path}' cannot be {value}: {wanted}"
    subject = f"'{path}' is" if path else "it is"
    return f"{subject} {value}, but {_demand(keyword, schema[keyword])}{_hint(fault)}"


def _short(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _unknown_key(instance: Mapping[str, Any], known: list[str], path: str) -> str:
    key = str(next(key for key in instance if key not in known))[:100]
    return f"unknown key '{f'{path}.' if path else ''}{key}'{_meant(key, known)} (known here: {', '.join(known)})"


def _meant(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word[:100], known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _demand(keyword: str, bound: Any) -> str:
    if keyword == "type":
        return "must be " + " or ".join(TYPES[name] for name in ([bound] if isinstance(bound, str) else bound))
    if keyword == "enum":
        return "must be one of " + ", ".join("null" if word is None else str(word) for word in bound)
    if keyword in _BOUNDS:
        return f"must be {_BOUNDS[keyword]} {bound}"
    if keyword in ("minItems", "maxItems", "minProperties"):
        return f"must have {'at most' if keyword == 'maxItems' else 'at least'} {bound} items"
    if keyword == "minLength":
        return "must not be empty"
    if keyword == "uniqueItems":
        return "must have every item once"
    return f"does not fit {keyword} {_short(bound)}"


def _hint(fault: Fault) -> str:
    if fault.keyword == "enum" and isinstance(fault.value, str):
        words = [word for word in fault.schema["enum"] if isinstance(word, str)]
        return _meant(fault.value, words)
    # YAML reads 7 as a number, and on as true.
    scalar = fault.value is None or isinstance(fault.value, bool | int | float)
    return "; write it in quotes" if scalar and fault.keyword == "type" and "string" in fault.schema["type"] else ""


def first_fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """The sentence for the first thing that does not fit, or None."""
    fault = next(_faults(schema, value, ()), None)
    return fault and sentence(fault)


def _faults(schema: Mapping[str, Any], value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    kinds = schema.get("type", ())
    if kinds and not any(_IS[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield Fault(path, "type", schema, value)
        return
    properties = schema.get("properties", {})
    if isinstance(value, Mapping) and "additionalProperties" in schema and value.keys() - properties:
        yield Fault(path, "additionalProperties", schema, value)
    for kind, tests in _FITS.items():
        for keyword, fits in tests.items() if kind is None or _IS[kind](value) else ():
            if keyword in schema and not fits(value, schema[keyword]):
                yield Fault(path, keyword, schema, value)
    if isinstance(value, Mapping):
        for key in filter(value.__contains__, properties):
            yield from _faults(properties[key], value[key], (*path, key))
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _faults(schema.get("items", {}), one, (*path, index))


def _number(value: Any) -> bool:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)  # of any size, unlike a float
    return whole or (isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value))


_IS: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "number": _number,
    "integer": lambda value: _number(value) and isinstance(value, numbers.Integral),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
# The keywords that speak of values of a type, or (None) of any, and whether a value fits them.
_FITS: dict[str | None, dict[str, Callable[[Any, Any], bool]]] = {
    None: {"enum": lambda value, words: value in words},
    "object": {"required": lambda value, keys: value.keys() >= set(keys)},
    "number": {
        "minimum": operator.ge,
        "maximum": operator.le,
        "exclusiveMinimum": operator.gt,
        "exclusiveMaximum": operator.lt,
    },
    "string": {"pattern": lambda value, pattern: re.search(pattern, value) is not None},
    "array": {
        "minItems": lambda value, least: len(value) >= least,
        "maxItems": lambda value, most: len(value) <= most,
        "uniqueItems": lambda value, _: len({*map(repr, value)}) == len(value),
    },
}
