"""How samples of a density compare with training objects: in the bins of k-means, and by nearest neighbours."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gmcn.errors import InputError

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

log = logging.getLogger(__name__)

BINS = 100
FULL = 5  # training objects of the mean bin, at least
SIGNIFICANT = 1.96  # standard errors: a two-sided test at 5 %
ITERATIONS = 50  # of k-means
NEIGHBOURS = 5000  # objects at most whose neighbours are looked for, among as many
ROWS = 500  # of a matrix of distances; bounds memory


@dataclass(frozen=True)
class Bins:
    """The clusters of k-means, the fullest first: ``centres`` [K, d] and how many objects each has, ``counts`` [K]."""

    centres: Tensor
    counts: Tensor

    def compare(self, values: Tensor) -> dict[str, Any]:  # [S, d]
        """How other objects fill these bins (Richardson and Weiss, 2018).

        ``js`` is the Jensen-Shannon divergence of the shares in nats. ``ndb`` counts the bins whose share differs by
        the test of two proportions at 5 %, ``ndb_three_errors`` those by more than three standard errors: such counts
        grow with the number of objects. ``bins`` are the shares.
        """
        _, found = nearest(values, self.centres)
        counts = found.bincount(minlength=len(self.centres))
        n, m = self.counts.sum(), counts.sum()
        p, q = self.counts.double() / n, counts.double() / m
        middle = (p + q) / 2
        divergence = ((torch.xlogy(p, p) + torch.xlogy(q, q)) / 2 - torch.xlogy(middle, middle)).sum()
        pooled = (self.counts + counts).double() / (n + m)
        errors = (p - q).abs() / (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
        return {
            "js": max(0.0, divergence.item()),
            "ndb": int((errors > SIGNIFICANT).sum()),
            "ndb_three_errors": int((errors > 3).sum()),
            "bins": q.tolist(),
        }


def bins_of(values: Tensor, count: int, seed: int) -> Bins:  # [N, d], float32
    """So many bins of training objects, or fewer: the mean bin has at least :data:`FULL` of them.

    :class:`InputError` where there are too few for two bins.
    """
    if len(values) < 2 * FULL:
        raise InputError(f"bins need {2 * FULL} training objects at least, and there are {len(values)}")
    if (most := len(values) // FULL) < count:
        log.info("%d bins instead of %d: there are %d training objects", most, count, len(values))
        count = most
    model = _clustered(values, count, seed)
    counts = torch.from_numpy(model.labels_).long().bincount(minlength=count)
    order = counts.argsort(descending=True, stable=True)
    return Bins(torch.from_numpy(model.cluster_centers_)[order], counts[order])


def _clustered(values: Tensor, count: int, seed: int) -> KMeans:  # [N, d]
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different objects than clusters
        return KMeans(count, n_init=1, max_iter=ITERATIONS, random_state=seed).fit(values.numpy())


class Reference:
    """The training objects with which samples are compared: their bins, and some of them as neighbours."""

    def __init__(
        self,
        values: Tensor,  # [N, d], float32
        bins: int,
        seed: int,
    ) -> None:
        self.bins, self.seed = bins_of(values, bins, seed), seed
        self.some = _some(values, NEIGHBOURS, seed)

    def compare(self, values: Tensor) -> dict[str, Any]:  # [S, d]
        """The numbers of :meth:`Bins.compare`, and how objects lie to each other and to training objects.

        For n objects and as many training objects: ``repeats`` is the share of objects that lie nearer to the mean of
        the others of their own cluster (of k-means of the objects, as many clusters as bins) than to any training
        object. It is high where objects are few pictures again and again, also under noise, which such a mean is free
        of. ``spread`` is the median distance to the nearest other object, over that among the training objects: 1
        where they differ as much, near 0 where they are the same. Both depend on n, ``neighbours``.
        """
        n = min(len(values), len(self.some))
        if n < 2:
            raise InputError(f"neighbours need two objects, and there are {n}")
        some, trained = _some(values, n, self.seed), self.some[:n]
        beside, _ = nearest(some, trained)
        return {
            **self.bins.compare(values),
            "repeats": (to_mean_of_others(some, len(self.bins.centres), self.seed) < beside).double().mean().item(),
            "spread": (_among(some).median() / _among(trained).median().clamp(min=1e-30)).item(),
            "neighbours": n,
        }


def to_mean_of_others(values: Tensor, count: int, seed: int) -> Tensor:  # [n, d] -> [n]
    """The distance of each to the mean of the others of its cluster; infinite where there is no other."""
    model = _clustered(values, min(count, len(values) // 2), seed)
    labels = torch.from_numpy(model.labels_).long()
    sums = values.new_zeros(model.n_clusters, values.shape[1]).index_add_(0, labels, values)
    sizes = labels.bincount(minlength=model.n_clusters)[labels].float()
    to_mean = (values - sums[labels] / sizes[:, None]).norm(dim=1)
    return (to_mean * sizes / (sizes - 1)).nan_to_num(nan=torch.inf, posinf=torch.inf)


def nearest(
    values: Tensor,  # [S, d]
    others: Tensor,  # [M, d]
    different: bool = False,
) -> tuple[Tensor, Tensor]:  # [S], [S] long
    """The distance to the nearest of ``others`` and its place, in float32; ``different``: these are the same objects.

    By matrix products of some rows: memory is 500 M numbers.
    """
    middle = others.mean(0)  # about which products round least
    values, others = values - middle, others - middle
    squares, pairs = others.square().sum(1), []
    for start in range(0, len(values), ROWS):
        part = values[start : start + ROWS]
        found = torch.addmm(squares, part, others.T, alpha=-2)
        if different:
            found.diagonal(start).fill_(torch.inf)
        least, places = found.min(1)
        pairs.append(((least + part.square().sum(1)).clamp(min=0).sqrt(), places))
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def _among(values: Tensor) -> Tensor:  # [n, d] -> [n]
    """The distance of each to its nearest neighbour."""
    return nearest(values, values, different=True)[0]


def _some(values: Tensor, count: int, seed: int) -> Tensor:
    """So many of them at random: a split may be sorted by class."""
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))[:count]]
