"""Pictures of dark ink on white paper, for networks that know bright on dark: a warning, and an option."""

from __future__ import annotations

import numpy as np
import pytest

import gmcn
from gmcn import cli
from gmcn.data.pictures import bright_border
from gmcn.errors import InputError


def test_ink_on_paper_is_warned_of_and_inverted_on_demand(images, marks, tmp_path, caplog):
    from PIL import Image

    bright = images.values[0].numpy()
    bright = np.pad(bright[1:-1, 1:-1], 1)  # a black border, as of MNIST's digits
    Image.fromarray(bright).save(tmp_path / "bright.png")
    Image.fromarray(bright.max() - bright).save(tmp_path / "paper.png")
    wanted = gmcn.predict(marks, tmp_path / "bright.png")
    assert caplog.messages == []
    assert gmcn.predict(marks, tmp_path / "paper.png") != wanted
    (said,) = caplog.messages
    assert said.startswith(f"1 of the images have a border brighter than their middle ({tmp_path / 'paper.png'})")
    assert said.endswith("--invert")
    caplog.clear()
    (found,) = gmcn.predict(marks, tmp_path / "paper.png", invert=True)
    assert caplog.messages == []
    assert found.probabilities == wanted[0].probabilities
    gmcn.predict(marks, tmp_path, invert=True)
    assert "leave out --invert" in caplog.text


def test_only_images_can_be_inverted(solids, tmp_path):
    with pytest.raises(InputError, match="only images can be inverted, and this network was trained on points"):
        gmcn.predict(solids.model, tmp_path, invert=True)


def test_a_seven_in_dark_ink_on_white_paper(tmp_path, capsys):
    from PIL import Image

    y, x = np.indices((28, 28))
    bar = (abs(y - 7) <= 1) & (x >= 7) & (x <= 19)
    stroke = bar | ((abs((x - 19) * 16 + (y - 7) * 7) <= 24) & (y >= 7) & (y <= 23))
    Image.fromarray(np.where(stroke, 20, 250).astype(np.uint8)).save(tmp_path / "seven.png")
    arguments = ["predict", "mnist_small", str(tmp_path / "seven.png"), "--device", "cpu"]
    assert cli.main(arguments) == 0
    assert "then make it so with --invert" in capsys.readouterr().err
    assert cli.main([*arguments, "--invert"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[1].split()[1] == "7"


def test_digits_of_the_data_set_are_no_ink_on_paper():
    from sklearn.datasets import load_digits

    images = load_digits().images
    assert not any(map(bright_border, images))
    assert all(map(bright_border, 16 - images))
    assert not bright_border(np.ones((1, 5)))
    assert not bright_border(np.full((8, 8), np.nan))
