"""The paper's figures by name."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.config import ILLUSTRATIONS
from gmcn.data.objects import TEST, read_split
from gmcn.errors import InputError
from gmcn.mixture import Mixture
from gmcn.papers.gmcn.figures import draw
from gmcn.pictures.network_figures import _tree


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "figure8")) for name in ILLUSTRATIONS]
)
def test_figures_are_written_twice_and_the_same(variant, tmp_path, name):
    shown = {"model": variant.runs / "seed0/model.safetensors", "mixtures": variant.mixtures}
    written = draw(name, settings={"objects": [0, 1]}, output=tmp_path / name, **shown)
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    before = [path.read_bytes() for path in written]
    draw(name, settings={"objects": [0, 1]}, output=tmp_path / name, **shown)
    assert [path.read_bytes() for path in written] == before


def test_the_nodes_of_a_level_hold_every_component_once(variant):
    mixture = Mixture(*(tensor[0] for tensor in read_split(variant.mixtures, TEST).inputs))
    order, groups = _tree(mixture, levels=(0, 2, 99))
    assert sorted(order.tolist()) == list(range(mixture.components))
    assert set(groups[0].tolist()) == {0}
    assert 2 < len(set(groups[2].tolist())) <= 4
    assert len(np.unique(groups[99])) == mixture.components


def test_what_cannot_be_drawn_is_one_sentence(variant, tmp_path):
    model = variant.runs / "seed0/model.safetensors"
    with pytest.raises(InputError, match=r"unknown figure 'figure1'; did you mean"):
        draw("figure1", output=tmp_path / "x")
    with pytest.raises(InputError, match="figure2 shows a trained network: name it"):
        draw("figure2", output=tmp_path / "x")
    with pytest.raises(InputError, match=r"has \d+ test objects, the figure wants number 5000"):
        draw("figure2", settings={"objects": [5000]}, model=model, mixtures=variant.mixtures, output=tmp_path / "x")
    assert not list(tmp_path.iterdir())
