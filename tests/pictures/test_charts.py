"""Charts of measured numbers."""

from __future__ import annotations

import numpy as np
import pytest

from gmcn.pictures import charts


@pytest.fixture
def figures(monkeypatch):
    """What would be saved."""
    found = []
    monkeypatch.setattr(charts, "_save", lambda figure, path: found.append(figure))
    return found


def test_names_of_classes_are_no_formulas(tmp_path, figures):
    names = ["$a_$", "under $5 and over $2"]
    answers = [np.array([0.9, 0.6, 0.8]), np.array([True, False, True])]
    charts.draw_confusion([np.array([[1, 1], [0, 1]])], names, tmp_path / "confusion.png", answers)
    axes = figures[0].subfigs[0].axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == names
        assert not any(tick.get_parse_math() for tick in ticks)
    figures[0].canvas.draw()


def test_every_class_is_in_the_legend_of_curves(tmp_path, figures):
    curve = (np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    charts.draw_roc({None: curve, "_noise": curve, "$x^$": curve}, tmp_path / "roc.png")
    legend = figures[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["all: 0.500", "_noise: 0.500", "$x^$: 0.500"]
    figures[0].canvas.draw()
