"""Declarations: what values they take, what they say otherwise, and their JSON schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from gmcn.declared import (
    DERIVED,
    DISTINCT,
    FILLED,
    OPTIONAL,
    Choice,
    above,
    at_least,
    at_most,
    at_most_items,
    below,
    check,
    defaults,
    matching,
    one_of,
    read,
    schema_of,
    together,
)
from gmcn.errors import InputError

Small = Annotated[int, at_least(1), at_most(9)]


@dataclass(frozen=True)
class Inner:
    """Something inside."""

    share: Annotated[float, above(0), below(1), "A share."] = 0.5


@dataclass(frozen=True)
class Outer:
    """All forms that a declaration knows.

    More about them.
    """

    count: Annotated[Small, "A count."]
    name: Annotated[str, matching("^[a-z]+$"), "small letters only"] = "a"
    on: Annotated[bool, "A switch."] = True
    mode: Annotated[Literal["fast", "slow"], "A mode."] = "fast"
    maybe: Annotated[float | None, at_least(0), "A number or null."] = None
    pair: Annotated[tuple[Small, Small], "Two."] = (1, 2)
    many: Annotated[Sequence[tuple[Small, Small]], FILLED, DISTINCT, at_most_items(3), "Some pairs."] = OPTIONAL
    inner: Annotated[Inner | None, "Another."] = None
    data: Annotated[int, DERIVED, "What the data say."] = 0


GOOD: dict[str, Any] = {"count": 1}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"count": np.int64(9), "maybe": np.float32(0.5), "data": 7},
        {"name": "b", "on": False, "mode": "slow", "maybe": None, "pair": [3, 4], "many": ((1, 2), [2, 1])},
        {"inner": {}, "maybe": 0},
        {"inner": None},
    ],
)
def test_what_fits_is_taken(values):
    assert read(Outer, GOOD | values, "here").count in (1, 9)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": 0}, "here: 'count' is 0, but must be at least 1"),
        ({"count": 10}, "here: 'count' is 10, but must be at most 9"),
        ({"count": True}, "here: 'count' is True, but must be a whole number"),
        ({"count": 1.0}, "here: 'count' is 1.0, but must be a whole number"),
        ({"name": "A"}, "here: 'name' cannot be 'A': small letters only"),
        ({"name": 7}, "here: 'name' is 7, but must be text; write it in quotes"),
        ({"on": 1}, "here: 'on' is 1, but must be true or false"),
        ({"mode": "fats"}, "here: 'mode' is 'fats', but must be one of fast, slow; did you mean 'fast'?"),
        ({"maybe": -1}, "here: 'maybe' is -1, but must be at least 0"),
        ({"maybe": float("nan")}, "here: 'maybe' is nan, but must be a number or null"),
        ({"maybe": "1"}, "here: 'maybe' is '1', but must be a number or null"),
        ({"pair": (1,)}, "here: 'pair' is [1], but must have at least 2 items"),
        ({"pair": [1, 2, 3]}, "here: 'pair' is [1, 2, 3], but must have at most 2 items"),
        ({"many": [[1, 2], [1, 0]]}, "here: 'many.1.1' is 0, but must be at least 1"),
        ({"many": []}, "here: 'many' is [], but must have at least 1 items"),
        ({"many": [[1, 2], [1, 2]]}, "here: 'many' is [[1, 2], [1, 2]], but must have every item once"),
        ({"inner": {"share": 1}}, "here: 'inner.share' is 1, but must be less than 1"),
        ({"inner": {"shar": 1}}, "here: unknown key 'inner.shar'; did you mean 'share'? (known here: share)"),
        ({"inner": 3}, "here: 'inner' is 3, but must be a mapping of keys to values or null"),
    ],
)
def test_what_does_not_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(InputError) as error:
        check(Outer, GOOD | values, "here")
    assert str(error.value) == sentence


def test_missing_keys_and_other_things_than_mappings():
    with pytest.raises(InputError, match="here: the key 'count' is missing"):
        check(Outer, {}, "here")
    with pytest.raises(InputError, match="here: it is 3, but must be a mapping of keys to values"):
        check(Outer, 3, "here")


def test_jsonschema_says_the_same():
    validator = Draft202012Validator(schema_of(Outer))
    for values in ({}, {"count": 0}, {"name": "A"}, {"maybe": -1}, {"pair": [1]}, {"inner": None}, {"inner": {"a": 1}}):
        try:
            check(Outer, GOOD | values, "here")
            fits = True
        except InputError:
            fits = False
        assert validator.is_valid(GOOD | values) is fits


def test_the_schema_has_defaults_and_meaning_but_not_what_the_data_say():
    shared: dict[str, Any] = {}
    assert schema_of(Outer, shared) == {"$ref": "#/$defs/Outer"}
    schema = shared["Outer"]
    assert schema["description"] == "All forms that a declaration knows."
    assert schema["required"] == ["count"]
    assert "data" not in schema["properties"]
    assert schema["properties"]["pair"] == {
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {"type": "integer", "minimum": 1, "maximum": 9},
        "description": "Two.",
        "default": (1, 2),
    }
    assert json.dumps(schema)
    assert defaults(Outer)["mode"] == "fast"


def test_the_parameters_of_a_constructor_declare_too():
    class Made:
        """A thing."""

        def __init__(
            self, size: Annotated[int, at_least(1)], *, names: Annotated[dict[str, int], "Numbers."] = OPTIONAL
        ) -> None: ...

    check(Made, {"size": 2}, "made")
    with pytest.raises(InputError, match="made: unknown key 'sizes'; did you mean 'size'"):
        check(Made, {"sizes": 2}, "made")
    assert schema_of(Made)["properties"]["names"]["additionalProperties"] == {"type": "integer"}


def test_a_key_chooses_what_the_others_are():
    @dataclass
    class Round:
        """A circle."""

        radius: float

    @dataclass
    class Box:
        """A box, by its sides or its area."""

        RULES: ClassVar = one_of("sides", "area") | together("unit", "area")

        sides: tuple[float, float] = OPTIONAL
        area: float = OPTIONAL
        unit: str = OPTIONAL

    def fits(choice: Choice, **values: Any) -> bool:
        return Draft202012Validator(schema_of(Annotated[Any, choice, "A shape."])).is_valid(values)

    members = {"round": Round, "box": Box}
    shape = Choice("kind", "Which.", members)
    assert fits(shape, kind="round", radius=1)
    assert not fits(shape, kind="box", radius=1)
    assert not fits(shape, kind="ball")
    assert not fits(shape, radius=1)
    assert not fits(shape, kind="round")
    assert fits(shape, kind="box", sides=[1, 2])
    assert not fits(shape, kind="box", sides=[1, 2], area=2, unit="m")
    assert not fits(shape, kind="box", area=2)
    assert fits(Choice("kind", "Which.", members, default="round"), radius=1)
    assert not fits(Choice("kind", "Which.", members, default="round"), sides=[1, 2])
    assert fits(Choice("kind", "Which.", members, partial=True), kind="round")
