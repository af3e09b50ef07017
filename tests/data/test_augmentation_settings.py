"""The settings of an augmentation, and the sentence for each bad value."""

from __future__ import annotations

import dataclasses

import pytest

from gmcn.data.augmentation import Augmentation
from gmcn.errors import InputError


def test_settings_are_read_and_written_back():
    values = {"rotation": "axis", "rotation_degrees": 15, "scaling": [0.8, 1.25], "reflection": [0], "dropping": 0.1}
    read = Augmentation.read(values)
    assert read == Augmentation("axis", 15, (0.8, 1.25), 0.0, (0,), 0.1)
    assert Augmentation.read(dataclasses.asdict(read)) == read
    assert Augmentation.read({}) == Augmentation()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("axis", "training.augmentation: it is 'axis', but must be a mapping"),
        ({"rotate": "any"}, "training.augmentation: unknown key 'rotate'; did you mean 'rotation'"),
        ({"rotation": "axes"}, "'rotation' is 'axes', but must be one of none, axis, any; did you mean 'axis'"),
        ({"rotation_degrees": 200}, "'rotation_degrees' is 200, but must be at most 180"),
        ({"rotation_degrees": "15"}, "'rotation_degrees' is '15', but must be a number"),
        ({"rotation": "any", "rotation_degrees": 15}, "'rotation_degrees' is 15, but belongs to the rotation 'axis'"),
        ({"scaling": [2, 1]}, r"'scaling' is \[2, 1\], but must have the smaller one first"),
        ({"scaling": [0, 1]}, r"'scaling.0' is 0, but must be greater than 0"),
        ({"scaling": [1]}, r"'scaling' is \[1\], but must have at least 2 items"),
        ({"scaling": [1, float("inf")]}, r"'scaling.1' is inf, but must be a number"),
        ({"scaling": 2}, "'scaling' is 2, but must be a list"),
        ({"translation": -1}, "'translation' is -1, but must be at least 0"),
        ({"translation": float("nan")}, "'translation' is nan, but must be a number"),
        ({"reflection": [3]}, "'reflection.0' is 3, but must be at most 2"),
        ({"reflection": [0, 0]}, r"'reflection' is \[0, 0\], but must have every item once"),
        ({"reflection": ["x"]}, "'reflection.0' is 'x', but must be a whole number"),
        ({"reflection": [True]}, "'reflection.0' is True, but must be a whole number"),
        ({"reflection": 0}, "'reflection' is 0, but must be a list"),
        ({"dropping": 1}, "'dropping' is 1, but must be less than 1"),
        ({"dropping": True}, "'dropping' is True, but must be a number"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Augmentation.read(values)


def test_an_axis_that_the_data_lack_is_refused():
    Augmentation(reflection=(2,)).check_dim(3)
    with pytest.raises(InputError, match=r"'reflection' is \[2\], but .*: the data have 2 dimensions"):
        Augmentation(reflection=(2,)).check_dim(2)
