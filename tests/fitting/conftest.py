"""What the tests of fits have in common."""

from __future__ import annotations

import pytest

from gmcn.data import sample


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.safetensors"
    settings = {"kind": "solids", "train_per_class": 2, "test_per_class": 1, "points": 100, "normalize": True}
    sample("solids10", settings=settings, downloads=None, output=path)
    return path
