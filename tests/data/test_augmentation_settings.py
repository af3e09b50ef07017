"""What can be set about an augmentation, and the sentence for each value that cannot be."""

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
        ("axis", "training.augmentation is 'axis'; it has to be a mapping of settings"),
        ({"rotate": "any"}, "unknown augmentation setting 'rotate'; did you mean 'rotation'"),
        ({"rotation": "axes"}, "unknown rotation 'axes'; did you mean 'axis'"),
        ({"rotation_degrees": 200}, "augmentation.rotation_degrees is 200; it has to be a number between 0 and 180"),
        ({"rotation_degrees": "15"}, "augmentation.rotation_degrees is '15'"),
        ({"rotation": "any", "rotation_degrees": 15}, "is 15; it has to be 180 where rotation is 'any'"),
        ({"scaling": [2, 1]}, r"augmentation.scaling is \[2, 1\]; it has to be two positive numbers, the smaller one"),
        ({"scaling": [0, 1]}, r"scaling is \[0, 1\]"),
        ({"scaling": [1]}, r"scaling is \[1\]"),
        ({"scaling": [1, float("inf")]}, r"scaling is \[1, inf\]"),
        ({"scaling": 2}, "scaling is 2"),
        (
            {"translation": -1},
            "translation is -1; it has to be a number of standard deviations, 0 or more",
        ),
        ({"translation": float("nan")}, "translation is nan"),
        ({"reflection": [3]}, r"augmentation.reflection is \[3\]; it has to be a list of different axes out of 0, 1"),
        ({"reflection": [0, 0]}, r"reflection is \[0, 0\]"),
        ({"reflection": ["x"]}, r"reflection is \['x'\]"),
        ({"reflection": [True]}, r"reflection is \[True\]"),
        ({"reflection": 0}, "reflection is 0"),
        ({"dropping": 1}, "augmentation.dropping is 1; it has to be a probability, 0 or more and less than 1"),
        ({"dropping": True}, "dropping is True"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Augmentation.read(values)


def test_an_axis_that_the_data_lack_is_refused():
    Augmentation(reflection=(2,)).check_dim(3)
    with pytest.raises(InputError, match=r"reflection is \[2\]; it has to be .*: the data have 2 dimensions"):
        Augmentation(reflection=(2,)).check_dim(2)
