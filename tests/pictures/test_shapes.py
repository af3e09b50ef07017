"""`gmcn show` of files that are unusual but not faulty."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gmcn.artifacts import save_tensors
from gmcn.pictures import shapes, show
from tests.data.files import npy
from tests.pictures.test_show import mixture


def test_points_of_splats_are_mixtures_without_what_fills_them_up(tmp_path):
    """The artifact itself, and a reduction of it, beside which there are neither points nor images."""
    some = mixture(3)
    some.weights[0, 3:] = 0
    metadata = {"dataset": "s", "names": ["u", "v", "w"], "class_names": ["p"]}
    save_tensors(tmp_path / "points/s.safetensors", some._asdict(), metadata)
    save_tensors(tmp_path / "mixtures/s_t.safetensors", some._asdict(), metadata | {"fit": "t"})
    for path in ("points/s.safetensors", "mixtures/s_t.safetensors"):
        first = shapes.read_shape(tmp_path / path)
        assert first.points is None
        torch.testing.assert_close(first.mixture.weights.float(), some.weights[0, :3])
        assert show.show(tmp_path / path, output=tmp_path / "a.png").is_file()


@pytest.mark.parametrize("suffix", ["html", "png", "svg"])
def test_a_name_that_is_not_utf_8(tmp_path, suffix):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.npy"))
    path.write_bytes(npy("(2, 3)") + np.arange(6, dtype="<f4").tobytes())
    assert show.show(path, output=tmp_path / f"a.{suffix}").is_file()
    assert show.title_of(shapes.read_shape(path)) == "n\ufffd, 2 points"
