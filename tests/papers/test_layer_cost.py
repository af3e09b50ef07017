"""The figure of what a layer costs: its formulas against layers, and that it is drawn."""

from __future__ import annotations

import pytest

from gmcn.papers.gm_layers import cost
from gmcn.papers.gm_layers.cost import FULL, Sizes
from gmcn.pictures import still


@pytest.mark.parametrize("rank", [0, 1, 4, FULL])
def test_formulas_count_what_there_is(rank):
    sizes = Sizes(components=6, rank=rank, width=40, outputs=3, batch=64)
    layer = sizes.layer()
    assert sizes.multiply_adds() == sum(one.numel() for one in layer.parameters()) - layer.logits.numel()
    work = sum(one.numel() for name, one in sizes.perceptron().named_parameters())
    assert abs(work - sizes.multiply_adds()) <= sizes.width + 1 + sizes.outputs
    found = cost.measured(sizes, seconds=0.01)
    assert found["bytes"] == pytest.approx(found["predicted_bytes"], rel=0.15)


def test_the_figure_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "SECONDS", 0.0)
    small = {
        "components": [Sizes(components=count, width=8) for count in (2, 4)],
        "rank": [Sizes(rank=rank, width=8) for rank in (0, 2, FULL)],
        "width": [Sizes(width=width) for width in (8, 16)],
    }
    monkeypatch.setattr(cost, "SWEEPS", small)
    found, figure = cost.cost()
    assert len(found["rows"]) == 7
    assert all(row["seconds"] > 0 and row["perceptron_seconds"] > 0 for row in found["rows"])
    assert [path.suffix for path in still.save_both(figure, tmp_path / "gmlayer-cost")] == [".png", ".svg"]
