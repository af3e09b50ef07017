"""Where a fit begins: clusters of some of the points, or Gaussians of the data's size at points drawn at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.errors import InputError, brief
from gmcn.fitting import reference
from gmcn.fitting.gmm.families import Family, mapped, unchecked
from gmcn.mixture import GaussianMixture

# A start looks at so many points drawn at random, or at 20 for each component, and makes so many of Lloyd's iterations.
SOME, PER_COMPONENT, LLOYD = 10_000, 20, 10


def begin(
    how: str | GaussianMixture,
    family: Family,
    x: Tensor,  # [..., M, D]
    mass: Tensor | None,  # [..., M]
    centre: Tensor,  # [..., 1, D]
    n: int,
    generator: torch.Generator,
) -> GaussianMixture:  # [..., n], float64, centred
    """A first mixture: by ``kmeans++`` the moments of clusters, by ``random`` equal Gaussians at random points."""
    lead = x.shape[:-2]
    if isinstance(how, GaussianMixture):
        return _given(how, family, lead, centre, n)
    some, share = _draw(x, mass, max(SOME, PER_COMPONENT * n), generator)
    some = (some.double() - centre).reshape(-1, *some.shape[-2:])
    share = share.double().reshape(-1, share.shape[-1])
    if how == "random":
        labels = torch.zeros_like(share, dtype=torch.long)
        means = some[:, :n]  # in random order, points of mass 0 last
    else:
        # The same numbers for all problems: none depends on the others.
        uniform = (
            torch.rand(n, generator=generator, dtype=torch.float64, device="cpu").to(some.device).expand(len(some), n)
        )
        places = reference.kmeans_plus_plus(some, share, uniform)
        seeds = some.gather(1, places[..., None].expand(-1, -1, some.shape[-1]))
        means, labels = reference.lloyd(some, share, seeds, LLOYD)
    mixtures = [
        _of_clusters(family, *problem, how == "random") for problem in zip(some, share, labels, means, strict=True)
    ]
    return mapped(lambda *parts: torch.stack(parts).reshape(*lead, *parts[0].shape), *mixtures)


def _given(
    mixture: GaussianMixture, family: Family, lead: torch.Size, centre: Tensor, n: int
) -> GaussianMixture:  # [..., n], centred
    """A start that the caller gives."""
    what = f"fit_gmm: the start has {mixture.components} components in {mixture.dim} dimensions"
    if (mixture.components, mixture.dim) != (n, centre.shape[-1]):
        raise InputError(f"{what}; it must have {n} in {centre.shape[-1]}")
    if mixture.batch_shape not in ((), tuple(lead)):
        raise InputError(f"{what} for problems {list(mixture.batch_shape)}; the points have {list(lead)}")
    whole = mixture.detach().to(centre.device, torch.float64).expand(*lead)
    try:
        covariance = family.convert(whole.covariance)
    except ValueError as error:
        raise InputError(f"{what}, which do not fit: its covariance {brief(error)}") from error
    return GaussianMixture(whole.logits, whole.means - centre, covariance)


def _of_clusters(
    family: Family,
    x: Tensor,  # [S, D]
    mass: Tensor,  # [S]
    labels: Tensor,  # [S]
    means: Tensor,  # [n, D]
    equal: bool,  # all of the covariance of all points
) -> GaussianMixture:
    """The Gaussians of clusters. One of fewer than two points takes the mean variances within clusters."""
    n = len(means)
    total = mass.new_zeros(n).index_add_(0, labels, mass)
    safe = torch.where(total > 0, total, 1.0)
    own = torch.zeros_like(means).index_add_(0, labels, mass[:, None] * x) / safe[:, None]
    within = (mass[:, None] * (x - own[labels]).square()).sum(0) / mass.sum()
    order = labels.argsort(stable=True)
    members = order.split(torch.bincount(labels, minlength=n).tolist())
    made = []
    for place in members[: 1 if equal else n]:
        place = place[mass[place] > 0]
        rows, weight = x[place], mass[place]
        if len(place) < 2:
            made.append(family.round(within))
        else:
            rows = rows - (weight[:, None] * rows).sum(0) / weight.sum()
            made.append(family.of_deviations(rows * (weight / weight.sum()).sqrt()[:, None]))
    parts = [torch.stack(column) for column in zip(*made, strict=True)]
    if equal:
        parts = [part.expand(n, *part.shape[1:]).clone() for part in parts]
        return unchecked(mass.new_full((n,), -math.log(n)), means, family.kind, *parts)
    # As if there were one point more for each: a start leaves no component without mass.
    share = total / mass.sum() * len(x) + 1
    return unchecked((share / share.sum()).log(), torch.where(total[:, None] > 0, own, means), family.kind, *parts)


def _draw(
    x: Tensor,  # [..., M, D]
    mass: Tensor | None,  # [..., M]
    count: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # [..., S, D], [..., S]
    """Points in random order, at most ``count``, with their masses; those of mass 0 come last."""
    size = x.shape[-2]
    order = torch.randperm(size, generator=generator, device="cpu").to(x.device)
    if mass is None:
        some = x[..., order[:count], :]
        return some, some.new_ones(some.shape[:-1])
    turns = order.argsort()  # the same order as of points without masses
    order = torch.where(mass > 0, turns, size).topk(min(count, size), largest=False).indices
    return x.gather(-2, order[..., None].expand(*order.shape, x.shape[-1])), mass.gather(-1, order)
