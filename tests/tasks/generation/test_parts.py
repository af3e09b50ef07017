"""Whether leaves are parts of chairs that we have made."""

from __future__ import annotations

import pytest
import torch

from gmcn.mixture import Diagonal, GaussianMixture
from gmcn.mixture.tree import MixtureTree
from gmcn.tasks.generation.measures_of_parts import PARTS, make_chairs, of_leaves, purity


def test_chairs_stand_upright_with_their_back_behind():
    clouds, parts = make_chairs(20, 600)
    assert clouds.shape == (20, 600, 3)
    assert clouds.norm(dim=-1).amax(1).sub(1).abs().max() < 1e-5
    for cloud, own in zip(clouds, parts, strict=True):
        middles = {name: cloud[own == place].mean(0) for place, name in enumerate(PARTS)}
        legs = [name for name in PARTS if name.endswith("leg")]
        assert all(middles[leg][2] < middles["seat"][2] < middles["back"][2] for leg in legs)
        assert middles["back"][1] > middles["seat"][1]
        assert middles["front left leg"][0] < middles["front right leg"][0]
        assert middles["front left leg"][1] < middles["back left leg"][1]
    again, _ = make_chairs(3, 600)
    assert torch.equal(again, clouds[:3])
    assert not torch.equal(make_chairs(3, 600, seed=1)[0], again)


def test_purity_counts_the_most_frequent_part_of_each_group():
    groups, parts = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([1, 1, 0, 3, 3])
    assert purity(groups, parts) == pytest.approx(4 / 5)
    assert purity(torch.zeros(5, dtype=torch.long), parts) == pytest.approx(2 / 5)


class Knowing(torch.nn.Module):
    """Sees the parts of a chair: one leaf in each, where these chairs have it."""

    leaves = 6

    def __init__(self, moved: bool) -> None:
        super().__init__()
        self.moved = moved

    def forward(self, seen):
        clouds, parts = make_chairs(50, seen.shape[1])
        rows = [int((clouds == one).all(2).all(1).nonzero()) for one in seen]
        middles = torch.stack(
            [
                torch.stack([clouds[row][parts[row] == (place + row * self.moved) % 6].mean(0) for place in range(6)])
                for row in rows
            ]
        )
        covariance = Diagonal(torch.full((len(seen), 6, 3), 0.02))
        return MixtureTree([GaussianMixture(torch.zeros(len(seen), 6), middles, covariance)])


def test_leaves_that_are_parts_are_purer_than_cells_and_those_that_change_are_not():
    own = of_leaves(Knowing(moved=False), 200, chairs=50)
    assert own["purity"] > own["cells"] > 0.4
    assert of_leaves(Knowing(moved=True), 200, chairs=50)["purity"] < own["cells"]
