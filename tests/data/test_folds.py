"""Folds that judge each object once, and none by a network that has seen a copy of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold

from gmcn.data import folds
from gmcn.data.folds import descriptors, fold_of
from gmcn.data.objects import Inputs
from gmcn.errors import InputError
from gmcn.mixture import Mixture

LABELS = torch.tensor([0] * 40 + [1] * 11 + [2] * 5)


def same_groups(inputs: Inputs, clouds: bool = False) -> set[frozenset[int]]:
    """The groups of more than one near-duplicate, as sets of their places."""
    groups = folds.near_duplicates(*descriptors(inputs, clouds))
    members = [frozenset((groups == group).nonzero().flatten().tolist()) for group in groups.unique()]
    return {group for group in members if len(group) > 1}


def test_each_object_is_judged_once_and_classes_keep_their_proportions():
    validated = []
    for fold in range(1, 6):
        train, validation = fold_of(LABELS, fold, 5)
        assert sorted([*train.tolist(), *validation.tolist()]) == list(range(len(LABELS)))
        counts = LABELS[validation].bincount(minlength=3).tolist()
        assert (counts[0], counts[1] in (2, 3), counts[2]) == (8, True, 1)
        validated += validation.tolist()
    assert sorted(validated) == list(range(len(LABELS)))


def test_folds_do_not_depend_on_the_seed_of_a_training():
    first = fold_of(LABELS, 2, 5)
    torch.manual_seed(7)
    again = fold_of(LABELS, 2, 5)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    expected = list(StratifiedKFold(5, shuffle=True, random_state=folds.SEED).split(LABELS, LABELS))[1]
    assert all(torch.from_numpy(e).equal(b) for e, b in zip(expected, again, strict=True))


def test_no_group_is_divided():
    groups = torch.arange(len(LABELS)) // 3
    seen = []
    for fold in (1, 2, 3):
        train, validation = fold_of(LABELS, fold, 3, groups)
        assert not set(groups[train].tolist()) & set(groups[validation].tolist())
        seen += validation.tolist()
    assert sorted(seen) == list(range(len(LABELS)))


def test_too_few_objects_are_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"too few objects for 41 folds: the largest class has 40$"):
        fold_of(LABELS, 1, 41)
    with pytest.raises(
        InputError, match=r"too few objects for 5 folds: the largest class has 40, and without near-dup"
    ):
        fold_of(LABELS, 1, 5, (LABELS > 0).long())


def test_a_class_with_fewer_objects_than_folds_is_no_warning(recwarn):
    fold_of(LABELS, 1, 8)
    assert not recwarn.list


def clouds(count: int = 12, points: int = 400) -> torch.Tensor:  # [S, M, 3]
    """Boxes of unlike proportions, densely and evenly filled."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.quasirandom.SobolEngine(3).draw(points) - 0.5
    return grid * (0.2 + torch.rand(count, 1, 3, generator=generator))


def copies_of(shapes: torch.Tensor) -> torch.Tensor:  # [S, M, 3]
    """The first three with other places, sizes, orders and a little noise."""
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(shapes.shape[1], generator=generator)
    moved = 3 * shapes[:3, order] + 5
    return moved + 0.002 * torch.randn(moved.shape, generator=generator)


def test_copies_of_clouds_are_found_whatever_their_place_size_and_order():
    shapes = clouds()
    found = same_groups(torch.cat([shapes, copies_of(shapes)]), clouds=True)
    assert found == {frozenset({0, 12}), frozenset({1, 13}), frozenset({2, 14})}


def test_distances_of_clouds_are_the_sliced_wasserstein_distance():
    """Against sorted projections, which are the optimal transport of equally many points in 1D."""
    shapes = clouds(2, points=32 * 8)
    found, _ = descriptors(shapes, clouds=True)
    directions = np.random.default_rng(folds.SEED).normal(size=(folds.DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centred = (shapes - shapes.mean(1, keepdim=True)).double().numpy()
    centred /= np.sqrt((centred**2).sum(-1).mean(1))[:, None, None]
    places = np.sort(centred @ directions.T, axis=1).reshape(2, folds.QUANTILES, 8, -1).mean(2)
    expected = np.sqrt(((places[0] - places[1]) ** 2).mean())
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(expected, rel=1e-4)


def test_weights_count_as_so_many_points():
    points = torch.randn(2, 10, 2, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([1, 2, 3, 1, 1, 4, 1, 2, 1, 1])
    directions = torch.nn.functional.normalize(torch.randn(folds.DIRECTIONS, 2))
    weighted = folds._quantiles(points, counts.expand(2, -1), directions)
    repeated = points.repeat_interleave(counts, 1)
    assert np.allclose(weighted, folds._quantiles(repeated, torch.ones(2, 17), directions), atol=1e-6)


def mixtures(positions: torch.Tensor, scale: float = 0.05) -> Mixture:  # [S, N, 3] -> [S, N]
    shape = positions.shape[:2]
    covariances = scale**2 * torch.eye(3).expand(*shape, 3, 3)
    return Mixture(torch.full(shape, 1 / shape[1]), positions, covariances)


def test_copies_of_mixtures_are_found_and_covariances_count():
    shapes = clouds(points=64)
    twins = torch.cat([shapes, shapes[:2].flip(1)])
    assert same_groups(mixtures(twins)) == {frozenset({0, 12}), frozenset({1, 13})}
    pair = [torch.cat([mixtures(shapes[:1], scale)[part] for scale in (0.05, 0.3)]) for part in range(3)]
    assert not same_groups(Mixture(*pair))


def test_copies_of_images_and_vectors_are_found():
    images = torch.rand(50, 8, 8, generator=torch.Generator().manual_seed(0))
    images[7] = images[3] + 0.01
    assert same_groups(images) == {frozenset({3, 7})}
    assert same_groups((250 * images).to(torch.uint8)) == {frozenset({3, 7})}
    assert same_groups(images.flatten(1)[:, :5]) >= {frozenset({3, 7})}


def test_objects_that_are_all_the_same_are_one_group():
    assert same_groups(torch.ones(4, 8, 8)) == {frozenset(range(4))}
    assert same_groups(torch.zeros(4, 10, 3), clouds=True) == {frozenset(range(4))}
