"""The E-step over tiles of points: log-likelihood and the sums of the M-step, in memory bounded by a tile.

Per tile: one matrix product gives the log-densities of all components, a softmax the responsibilities, and a second
product the sums. Neither differences [M, N, D] nor responsibilities [M, N] of all points are ever held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gmcn.fitting.gmm.families import Family, Form, Sums
from gmcn.mixture import GaussianMixture

# Numbers that a tile holds besides its points: 16 MB in float32.
TILE = 1 << 22


def tiles(x: Tensor, mass: Tensor | None, width: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Parts of points [..., M, D] with their masses [..., M], of as many as ``width`` numbers each fit into a tile."""
    count = math.prod(x.shape[:-2])
    size = max(16, TILE // max(1, count * width))
    for start in range(0, x.shape[-2], size):
        rows = slice(start, start + size)
        yield x[..., rows, :], None if mass is None else mass[..., rows]


def centre_of(x: Tensor, mass: Tensor | None) -> Tensor:  # [..., M, D], [..., M] -> [..., 1, D]
    """Weighted mean of the points, in float64."""
    sums, total = 0.0, 0.0
    for part, share in tiles(x, mass, 4 * x.shape[-1]):
        part = part.double()
        share = part.new_ones(part.shape[:-1]) if share is None else share.double()
        sums = sums + share[..., None, :] @ part
        total = total + share.sum(-1)[..., None, None]
    return sums / total


def expectation(
    family: Family,
    mixture: GaussianMixture,  # [..., N], float64, centred
    x: Tensor,  # [..., M, D]
    mass: Tensor | None,  # [..., M]
    centre: Tensor,  # [..., 1, D]
    *,
    nearest: bool = False,
) -> tuple[Sums, Tensor]:  # [...]
    """The sums for :meth:`Family.maximise`, and the log-likelihood per unit of mass.

    With ``nearest`` every point belongs to the component of the nearest mean alone, as in k-means, and instead of the
    log-likelihood there is the negative mean squared distance.
    """
    dtype = family.dtype or x.dtype
    form = nearest_form(mixture.means.to(dtype)) if nearest else family.form(mixture, dtype)
    components, lead = mixture.components, x.shape[:-2]
    found: Sums = {}
    likelihood = total = x.new_zeros(lead, dtype=torch.float64)
    centre = centre.to(x.dtype)
    for part, share in tiles(x, mass, family.width(x.shape[-1], components)):
        part = (part - centre).to(dtype)
        phi = family.features(part)
        logs = phi[..., : form.coefficients.shape[-1]] @ form.coefficients.mT
        if form.maps is not None:
            explained = (phi[..., : form.maps.shape[-2]] @ form.maps).unflatten(-1, (components, -1))
            logs.add_(explained.square().sum(-1), alpha=0.5)
        else:
            explained = None
        best = logs.amax(-1)
        if nearest:
            shares = torch.zeros_like(logs).scatter_(-1, logs.argmax(-1, keepdim=True), 1.0)
            each = 2 * best - part.square().sum(-1)
        else:
            shares = logs.softmax(-1)
            each = best - shares.amax(-1).log()  # the largest share is exp(best - logsumexp)
        if share is not None:
            share = share.to(dtype)
            # A point of mass 0 does not exist, whatever is said of it.
            each = torch.where(share > 0, share * each, 0.0)
            shares.mul_(share[..., None])
            total = total + share.sum(-1, dtype=torch.float64)
        else:
            total = total + part.shape[-2]
        likelihood = likelihood + each.sum(-1, dtype=torch.float64)
        _add(found, "moments", shares.mT @ phi)
        if explained is not None:
            roots = explained * shares[..., None].sqrt()  # [..., T, N, R]
            by_component = roots.transpose(-3, -2)
            _add(found, "products", by_component.mT @ by_component)
            explained.mul_(shares[..., None])
            _add(found, "crossed", phi[..., : form.maps.shape[-2]].mT @ explained.flatten(-2))
    found["total"] = total
    return (found if nearest else family.complete(found, mixture)), likelihood / total


def nearest_form(means: Tensor) -> Form:  # [..., N, D]
    """Of one and the coordinates x: x · mean - |mean|² / 2, which is largest for the nearest mean."""
    return Form(torch.cat([means.square().sum(-1, keepdim=True) / -2, means], -1))


def _add(sums: Sums, name: str, part: Tensor) -> None:
    if name in sums:
        sums[name].add_(part)
    else:
        sums[name] = part.double()
