"""Corrects numbers that arrived as text, and texts that arrived as numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence
from typing import Any

from gmcn.errors import InputError

# As in YAML.
_WORDS = {
    "boolean": {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False},
    "null": {"null": None, "~": None},
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_LONGEST = 40  # characters of a number


def check_keys(config: object, source: str) -> None:
    """Raise one sentence for a name that YAML reads as something else than text, as it does ``7`` and ``on``."""
    nodes, seen = [("", config)], set()
    while nodes:
        path, node = nodes.pop()
        if id(node) in seen or not isinstance(node, Mapping | list):
            continue
        seen.add(id(node))
        entries = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in entries:
            if isinstance(node, Mapping) and not isinstance(key, str):
                within = f" in '{path}'" if path else ""
                raise InputError(
                    f"{source}: a name{within} is {_to_yaml(key)}; write it in quotes, as in {_quoted(key)}"
                )
            nodes.append((f"{path}.{key}" if path else str(key), value))


def _to_yaml(key: object) -> str:
    if isinstance(key, bool):
        return f"{str(key).lower()} to YAML, as are {'on and yes' if key else 'off and no'}"
    return "nothing to YAML, as are null and ~" if key is None else f"{key} and no text to YAML"


def _quoted(key: object) -> str:
    return f"'{ {True: 'on', False: 'off'}[key] if isinstance(key, bool) else 'null' if key is None else key }'"


def take_texts(errors: Iterable[Any], places: Any) -> bool:
    """Replace the texts that ``jsonschema`` rejects by the values that they stand for; return whether there was one.

    ``places(error)`` gives the mappings in which it may stand, each with the path to it.
    """
    found = 0
    for error in errors:
        if isinstance(error.instance, str) and (value := _meant(error)) is not error.instance:
            found += sum(_put(place, path, error.instance, value) for place, path in places(error))
    return found > 0


def _meant(error: Any) -> Any:
    """The value that a text stands for, of a type in the schema; the text itself if it is allowed or nothing fits."""
    text, wanted = error.instance, error.validator_value
    if error.validator == "enum":
        return next((value for value in wanted if _number(text) == value), text)
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if error.validator != "type":
        return text
    for kind in kinds:
        if text.lower() in _WORDS.get(kind, ()):
            return _WORDS[kind][text.lower()]
    number = _number(text)
    return number if "number" in kinds or ("integer" in kinds and isinstance(number, int)) else text


def _number(text: str) -> int | float | str:
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return text
    number = int(text) if text.lstrip("+-").isdigit() else float(text)
    return number if math.isfinite(number) else text


def _put(place: Any, path: Iterable[str | int], old: str, new: Any) -> bool:
    """Set what stands at ``path`` to ``new``, if that is ``old``."""
    *outer, last = path
    try:
        for key in outer:
            place = place[key]
        there = place[last] == old
    except (LookupError, TypeError):
        return False
    if there and isinstance(place, MutableMapping | MutableSequence):
        place[last] = new
    return there
