"""Folds of a training split: each object is judged once, by networks that have seen neither it nor a copy of it."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from gmcn.data.objects import Inputs
from gmcn.errors import InputError
from gmcn.mixture import Mixture

SEED = 0  # not the training's: all variants and seeds are judged on the same folds
# Distances up to which two objects count as one; docs/choosing.md says how they were chosen.
SAME_SHAPE = 0.011  # of clouds and mixtures, in units of the root mean square distance from the shape's own centre
SAME_VECTOR = 0.1  # of images and vectors, in units of the root mean square distance from the mean of all
DIRECTIONS, QUANTILES = 64, 32
CHUNK = 2**22  # numbers that are sorted at a time
PROJECTED = 32  # dimensions in which neighbours are looked for


def fold_of(
    labels: Tensor,  # [S]
    fold: int,
    folds: int,
    groups: Tensor | None = None,  # [S]
) -> tuple[Tensor, Tensor]:
    """Indices to train on and to validate on in fold ``fold`` (from 1) of ``folds``, each class in its proportion.

    Every object is validated on in exactly one fold, and no group is divided. The folds are a function of labels,
    groups and their number alone. Raises :class:`InputError` where there are fewer groups than folds, or no class
    has so many objects.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    largest = int(labels.bincount().max())
    distinct = len(labels) if groups is None else len(groups.unique())
    if folds > min(largest, distinct):
        grouped = "" if groups is None else f", and without near-duplicates there are {distinct} in all"
        raise InputError(f"there are too few objects for {folds} folds: the largest class has {largest}{grouped}")
    divide = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():  # a class with fewer objects than folds is judged in some of them
        warnings.filterwarnings("ignore", message="The least populated class")
        divided = divide(folds, shuffle=True, random_state=SEED).split(labels, labels, groups)
        train, validation = list(divided)[fold - 1]
    return torch.from_numpy(train), torch.from_numpy(validation)


def descriptors(inputs: Inputs, clouds: bool = False) -> tuple[np.ndarray, float]:  # S objects -> [S, d], []
    """Vectors whose distance is that of the objects, and the distance up to which two objects are nearly the same.

    Of mixtures [S, N], and with ``clouds`` of points [S, M, D], it is the sliced Wasserstein distance, after each is
    centred and scaled to a mean square distance of one from its centre. All other inputs are vectors themselves.
    """
    if clouds or isinstance(inputs, Mixture):
        return _sliced(inputs), SAME_SHAPE
    return _scaled(inputs.flatten(1).float().numpy()), SAME_VECTOR


def near_duplicates(vectors: np.ndarray, radius: float) -> Tensor:  # [S, d] -> [S]
    """The group of each object: in one are those within ``radius`` of each other, be it through others in between."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.decomposition import PCA
    from sklearn.neighbors import radius_neighbors_graph

    # A projection makes no distance longer: nothing is missed, and what is near in it is compared in full.
    near = vectors
    if min(vectors.shape) > PROJECTED:
        near = PCA(PROJECTED, svd_solver="randomized", random_state=SEED).fit_transform(vectors)
    first, second = radius_neighbors_graph(near, radius * 1.001).nonzero()
    size = max(1, CHUNK // vectors.shape[1])  # of thousands of equal objects there are millions of pairs
    parts = [slice(start, start + size) for start in range(0, len(first), size)]
    near = [np.linalg.norm(vectors[first[part]] - vectors[second[part]], axis=1) <= radius for part in parts]
    same = np.concatenate([np.zeros(0, dtype=bool), *near])
    graph = coo_array((same[same], (first[same], second[same])), shape=(len(vectors),) * 2)
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def _scaled(vectors: np.ndarray) -> np.ndarray:  # [S, d] -> [S, d]
    vectors = vectors - vectors.mean(0)
    return vectors / max(np.sqrt(np.square(vectors).sum(1).mean()), 1e-30)


def _sliced(inputs: Inputs) -> np.ndarray:  # S objects -> [S, DIRECTIONS * QUANTILES]
    """Vectors whose distance is the sliced Wasserstein distance: means between quantiles, along fixed directions."""
    if isinstance(inputs, Mixture):
        points, weights = _points_of(inputs)
    else:
        points, weights = inputs, torch.ones(1).expand(inputs.shape[:2])
    directions = torch.from_numpy(np.random.default_rng(SEED).normal(size=(DIRECTIONS, points.shape[-1])))
    directions = nn.functional.normalize(directions).float()
    size = max(1, CHUNK // (points.shape[1] * DIRECTIONS))
    chunks = zip(points.float().split(size), weights.split(size), strict=True)
    return np.concatenate([_quantiles(some, of, directions) for some, of in chunks])


def _points_of(mixture: Mixture) -> tuple[Tensor, Tensor]:  # [S, N] -> [S, 2 D N, D], [S, 2 D N]
    """Points with the mean and covariance of each component, and their weights."""
    offsets = torch.linalg.cholesky(mixture.covariances).mT * mixture.dim**0.5  # [S, N, D (of points), D]
    points = mixture.positions[..., None, :] + torch.cat([offsets, -offsets], -2)
    weights = mixture.weights.abs()[..., None].expand(points.shape[:-1])
    return points.flatten(1, 2), weights.flatten(1)


def _quantiles(points: Tensor, weights: Tensor, directions: Tensor) -> np.ndarray:  # [B, M, D], [B, M], [DIRECTIONS, D]
    """[B, DIRECTIONS * QUANTILES]."""
    shares = weights.double() / weights.double().sum(1, keepdim=True)
    points = points - torch.einsum("bm,bmd->bd", shares.float(), points)[:, None]
    scale = torch.einsum("bm,bmd->b", shares.float(), points.square()).sqrt().clamp_min(1e-30)
    places = directions @ (points / scale[:, None, None]).mT  # [B, DIRECTIONS, M]
    shares = shares[:, None].expand_as(places)
    if (weights == weights[:, :1]).all():
        places = torch.from_numpy(np.sort(places.numpy()))  # several times as fast as with the order
    else:
        places, order = places.sort()
        shares = shares.gather(-1, order)
    below, integral = shares.cumsum(-1), (shares * places).cumsum(-1)
    edges = torch.linspace(0, 1, QUANTILES + 1, dtype=torch.float64)[1:-1].expand(*places.shape[:2], -1).contiguous()
    index = torch.searchsorted(below, edges).clamp_max(places.shape[-1] - 1)
    # A quantile function is constant between cumulated shares: its integral up to an edge is linear there.
    inner = integral.gather(-1, index) - (below.gather(-1, index) - edges) * places.gather(-1, index)
    ends = torch.cat([torch.zeros_like(inner[..., :1]), inner, integral[..., -1:]], -1)
    return (ends.diff() * (QUANTILES / DIRECTIONS) ** 0.5).flatten(1).float().numpy()
