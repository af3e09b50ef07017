"""Trees of mixtures, by explicit loops over points and components."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gmcn import GaussianMixture, MixtureTree

from .workload import FAMILIES, build, density, parameters, points

PARENTS = (torch.tensor([1, 0, 1, 1, 0]), torch.tensor([4, 3, 2, 1, 0, 0, 2]))


def tree(family: str, shape: tuple[int, ...] = (2,), dim: int = 3) -> MixtureTree:
    levels = [density(family, shape, n, dim, seed) for seed, n in enumerate((2, 5, 7))]
    return MixtureTree.from_siblings(levels, PARENTS)


def consistent(tree: MixtureTree) -> None:
    """A component weighs what its children weigh together."""
    for above, level, parent in zip(tree.levels, tree.levels[1:], tree.parents, strict=False):
        sums = torch.zeros_like(above.weights).index_add_(-1, parent, level.weights)
        assert_close(sums, above.weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_hard_path_is_that_of_a_loop(family):
    whole, x = tree(family), points((2,), 9, 3)
    consistent(whole)
    values = whole.hard_path_log_prob(x)
    assert values.shape == (2, 9, 3)
    for place in range(2):
        levels = [level[place] for level in whole.levels]
        for number, point in enumerate(x[place]):
            members = torch.arange(2)
            for depth, level in enumerate(levels):
                scores = level.component_log_prob(point[None])[0, members] - level.logits[members].logsumexp(0)
                assert_close(values[place, number, depth], scores.logsumexp(0))
                if depth < 2:
                    members = (whole.parent(depth + 1) == members[scores.argmax()]).nonzero()[:, 0]
    assert_close(whole.log_prob(x), whole.leaves().log_prob(x))


def test_tree_of_regular_branching():
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = [density("frame", (3,), 2), build("frame", logits, *parameters("frame", (3,), 8, 3)[1:])]
    whole = MixtureTree.from_siblings(levels)
    assert whole.parent(1).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    siblings = logits.unflatten(-1, (2, 4)).softmax(-1) * levels[0].weights[..., None]
    assert_close(whole.leaves().weights, siblings.flatten(-2))
    assert_close(MixtureTree(whole.levels).log_prob(points((), 4, 3)), whole.log_prob(points((), 4, 3)))
    # Its own moments as the level before: the density of that level keeps the leaves' moments.
    merged = whole.leaves().merge(whole.parent(1))
    consistent(MixtureTree((merged, whole.leaves())))


@pytest.mark.parametrize("shape", [(), (2,)])
def test_points_broadcast(shape):
    whole, x = tree("frame", shape), points((4, 1), 6, 3)
    values = whole.hard_path_log_prob(x)
    assert values.shape == (4, *(shape or (1,)), 6, 3)
    one = MixtureTree(tuple(level[1] if shape else level for level in whole.levels), PARENTS)
    assert_close(values[3, -1], one.hard_path_log_prob(x[3, 0]))
    assert whole.hard_path_log_prob(x[..., :0, :]).shape == (4, *(shape or (1,)), 0, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_by_finite_differences(family):
    leaves = [leaf.requires_grad_() for seed, n in ((0, 2), (1, 5)) for leaf in parameters(family, (), n, 2, seed)]
    half, x = len(leaves) // 2, points((), 5, 2)

    def function(*tensors):
        levels = [build(family, *tensors[:half]), build(family, *tensors[half:])]
        whole = MixtureTree.from_siblings(levels, PARENTS[:1])
        return whole.hard_path_log_prob(x), whole.log_prob(x)

    assert torch.autograd.gradcheck(function, leaves)


def test_branch_of_weight_zero_gives_no_nan():
    logits = torch.tensor([0.0, -torch.inf], dtype=torch.float64, requires_grad=True)
    first = GaussianMixture(logits, *(getattr(density("full", n=2), name) for name in ("means", "covariance")))
    whole = MixtureTree.from_siblings([first, density("full", n=5)], PARENTS[:1])
    consistent(whole)
    x = points((), 6, 3)
    loss = whole.hard_path_log_prob(x).sum() + whole.log_prob(x).sum()
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


LEVELS = [density("full", n=n) for n in (2, 5)]
ERRORS = {
    "at least one level": lambda: MixtureTree(()),
    r"level 1 has leading dimensions \[2\] in 3D, but level 0 has \[\]": lambda: MixtureTree(
        (LEVELS[0], density("full", (2,)))
    ),
    "no multiple of the 2": lambda: MixtureTree(LEVELS),
    "need parents for 1, got 2": lambda: MixtureTree(LEVELS, PARENTS),
    r"parents of level 1 must be int64 \[5\]": lambda: MixtureTree(LEVELS, PARENTS[1:]),
    r"must lie in 0 ... 1 \(at \[4\]\)": lambda: MixtureTree(LEVELS, [torch.tensor([0, 0, 1, 1, 2])]),
    r"a component of level 0 has no children \(at \[1\]\)": lambda: MixtureTree(LEVELS, [torch.zeros(5).long()]),
    "level 0 has no parents": lambda: MixtureTree(LEVELS, PARENTS[:1]).parent(0),
}


@pytest.mark.parametrize("sentence", ERRORS)
def test_errors_are_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        ERRORS[sentence]()
