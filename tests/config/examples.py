"""Configurations that tests share: ours, and a small one."""

from __future__ import annotations

import copy

import pytest

from gmcn import config
from gmcn.errors import InputError
from tests.conftest import ROOT

REAL = config.load(ROOT / "config.yaml")


SMALL = {
    "datasets": {"digits": {"kind": "digits"}, "solids10": {"kind": "solids"}},
    "fits": {"kmeans8": {"method": "kmeans", "components": 8}, "kmeans4": {"method": "kmeans", "components": 4}},
    "variants": {
        "base": {
            "fit": "kmeans8",
            "seeds": [0],
            "network": {"layers": [[8, 4]], "kernel_components": 5},
            "training": {"epochs": 3, "batch_size": 4},
            "probe": {"shapes": 2},
            "datasets": {"digits": {"training": {"batch_size": 8}}},
        },
        "child": {"base": "base", "training": {"epochs": 9}, "datasets": {"solids10": {"fit": "kmeans4"}}},
    },
}


def changed(path: str, value: object) -> dict:
    """A copy of the small configuration with one key, given as ``a.b.c``, set."""
    new = copy.deepcopy(SMALL)
    place = new
    *keys, last = path.split(".")
    for key in keys:
        place = place.setdefault(key, {})
    place[last] = value
    return new


def sentence(raw: dict) -> str:
    with pytest.raises(InputError) as error:
        config.check(raw)
    text = str(error.value)
    assert "\n" not in text
    return text
