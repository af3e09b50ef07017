"""Pictures of what a classifier gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmcn.data.objects import ObjectSet
from gmcn.mixture import Mixture
from gmcn.pictures.mistakes import draw_mistakes, worst


def test_what_every_seed_gets_wrong_comes_first_and_then_what_is_said_surely():
    labels = np.array([0, 0, 1, 1, 0])
    predictions = np.array([[0, 1, 0, 1, 1], [0, 1, 1, 0, 1]])  # the objects 1 and 4 always, 2 and 3 once
    confidences = np.array([[0.99, 0.6, 0.9, 0.9, 0.7], [0.99, 0.6, 0.9, 0.95, 0.7]])
    assert worst(predictions, confidences, labels).tolist() == [4, 1, 3, 2]
    assert worst(predictions[:1], confidences[:1], predictions[0]).tolist() == []


def mixtures(dim):
    ones = torch.eye(dim).expand(3, 4, dim, dim)
    return Mixture(torch.ones(3, 4), torch.randn(3, 4, dim, generator=torch.Generator().manual_seed(0)), ones)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("mixtures", mixtures(3)),
        ("mixtures", mixtures(2)),
        ("points", torch.randn(3, 30, 3, generator=torch.Generator().manual_seed(0))),
        ("images", torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))),
        ("vectors", torch.zeros(3, 5)),
    ],
    ids=["3D", "2D", "points", "images", "vectors"],
)
def test_objects_of_every_kind_are_drawn(kind, inputs, tmp_path):
    data = ObjectSet(kind, inputs, torch.tensor([0, 1, 1]), ["x", "y", "z"], {"class_names": ["a", "b"]})

    def size(*predictions):
        seeds = [{"predictions": list(said), "confidences": [0.9, 0.8, 0.7]} for said in predictions]
        return len(draw_mistakes(seeds, data, tmp_path / "mistakes.png").read_bytes())

    nothing = size([0, 1, 1])
    assert size([1, 0, 1], [1, 1, 1]) > nothing > 1000
