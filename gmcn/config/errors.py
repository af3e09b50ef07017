"""What the schema found wrong, as one sentence for the person who wrote the configuration."""

from __future__ import annotations

import difflib
from typing import Any

from gmcn.errors import InputError

TYPES = {
    "object": "a mapping of keys to values",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def explain(error: Any, source: str) -> InputError:
    """The :class:`InputError` for a ``jsonschema.ValidationError``: where, what is wrong, what would do."""
    path = ".".join(map(str, error.absolute_path))
    within = f" in '{path}'" if path else ""
    schema, value = error.schema, _short(error.instance)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(schema.get("properties", {}))
        return InputError(_unknown_key(error.instance, known, path, source))
    if error.validator == "oneOf":
        keys = " and ".join(f"'{choice['required'][0]}'" for choice in error.validator_value)
        return InputError(f"{source}: '{path}' needs exactly one of {keys}")
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return InputError(f"{source}: the key '{missing}' is missing{within}")
    if "propertyNames" in error.absolute_schema_path:
        return InputError(f"{source}: the name {value}{within} is not allowed: {schema['description']}")
    if error.validator == "pattern":
        wanted = schema.get("description", f"it must match {error.validator_value}")
        return InputError(f"{source}: '{path}' cannot be {value}: {wanted}")
    return InputError(f"{source}: '{path}' is {value}, but {_demand(error)}{_hint(error)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _unknown_key(instance: dict[str, Any], known: list[str], path: str, source: str) -> str:
    key = next(key for key in instance if key not in known)[:100]
    close = difflib.get_close_matches(key, known, n=1)
    suggestion = f"; did you mean '{close[0]}'?" if close else ""
    return f"{source}: unknown key '{f'{path}.' if path else ''}{key}'{suggestion} (known here: {', '.join(known)})"


def _demand(error: Any) -> str:
    value = error.validator_value
    if error.validator == "type":
        return "must be " + " or ".join(TYPES[name] for name in ([value] if isinstance(value, str) else value))
    if error.validator == "enum":
        return "must be one of " + ", ".join(map(str, value))
    bounds = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "greater than",
        "exclusiveMaximum": "less than",
    }
    if error.validator in bounds:
        return f"must be {bounds[error.validator]} {value}"
    if error.validator in ("minItems", "maxItems"):
        return f"must have {'at least' if error.validator == 'minItems' else 'at most'} {value} items"
    return f"does not fit: {_short(error.message)}"


def _hint(error: Any) -> str:
    # YAML reads 7 as a number, and on as true.
    scalar = error.instance is None or isinstance(error.instance, bool | int | float)
    return "; write it in quotes" if scalar and error.validator == "type" and "string" in error.validator_value else ""
