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
from gmcn.fitting.gmm.shares import share_out
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
    """About the weighted mean of the points, a number of their dtype; in float64."""
    sums, total = 0.0, 0.0
    for part, share in tiles(x, mass, x.shape[-1]):
        share = part.new_ones(part.shape[:-1]) if share is None else share
        sums = sums + (share[..., None, :] @ part).double()
        total = total + share.sum(-1, dtype=torch.float64)[..., None, None]
    return (sums / total).to(x.dtype).double()


def expectation(
    family: Family,
    mixture: GaussianMixture,  # [..., N], float64, centred
    x: Tensor,  # [..., M, D]
    mass: Tensor | None,  # [..., M]
    centre: Tensor,  # [..., 1, D]
    *,
    nearest: bool = False,
    exact: bool = False,
) -> tuple[Sums, Tensor]:  # [...]
    """The sums for :meth:`Family.maximise`, and the log-likelihood per unit of mass.

    With ``nearest`` every point belongs to the component of the nearest mean alone, as in k-means, and instead of the
    log-likelihood there is the negative mean squared distance. ``exact`` computes in float64 in any dimension.
    """
    dtype = torch.float64 if exact or x.shape[-1] <= family.exact else x.dtype
    form = nearest_form(mixture.means.to(dtype)) if nearest else family.form(mixture, dtype)
    components, lead = mixture.components, x.shape[:-2]
    shift, room, found = centre.to(dtype), _Room(x.device, dtype), Sums()
    likelihood = total = x.new_zeros(lead, dtype=torch.float64)
    for part, share in tiles(x, mass, family.width(x.shape[-1], components)):
        rows = part.shape[:-1]
        phi = family.features(part.to(dtype), shift, room("features", *rows, family.count(x.shape[-1])))
        share = phi.new_ones(rows) if share is None else share.to(dtype)
        given = phi[..., : form.coefficients.shape[-1]]
        logs = torch.matmul(given, form.coefficients.mT, out=room("logs", *rows, components))
        explained = None
        if form.maps is not None:
            factors = phi[..., : form.maps.shape[-2]]
            explained = torch.matmul(factors, form.maps, out=room("explained", *rows, form.maps.shape[-1]))
            explained = explained.unflatten(-1, (components, -1))
            logs.add_(torch.linalg.vector_norm(explained, dim=-1).square_(), alpha=0.5)
        if nearest:
            best, places = logs.max(-1, keepdim=True)
            shares = torch.zeros_like(logs).scatter_(-1, places, share[..., None])
            each = 2 * best[..., 0] - phi[..., 1 : 1 + x.shape[-1]].square().sum(-1)
        else:
            shares, each = share_out(logs, share)
        # A point of mass 0 does not exist, whatever is said of it.
        likelihood = likelihood + torch.where(share > 0, share * each, 0.0).sum(-1, dtype=torch.float64)
        total = total + share.sum(-1, dtype=torch.float64)
        narrow = phi.shape[-1] < components  # which product is faster
        _add(found, "moments", (phi.mT @ shares).mT if narrow else shares.mT @ phi)
        if explained is not None:
            roots = torch.mul(explained, shares[..., None].sqrt(), out=room("roots", *explained.shape))
            by_component = roots.transpose(-3, -2)  # [..., N, T, R]
            _add(found, "products", by_component.mT @ by_component)
            _add(found, "crossed", factors.mT @ explained.mul_(shares[..., None]).flatten(-2))
    found["total"] = total
    return (found if nearest else family.complete(found, form)), likelihood / total


class _Room:
    """Memory that is written again for every tile: to ask for new would take as long as to write."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._kind = {"device": device, "dtype": dtype}
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        size = math.prod(shape)
        if name not in self._held:  # the first tile is the largest
            self._held[name] = torch.empty(size, **self._kind)
        return self._held[name][:size].view(shape)


def nearest_form(means: Tensor) -> Form:  # [..., N, D]
    """Of one and the coordinates x: x · mean - |mean|² / 2, which is largest for the nearest mean."""
    return Form(torch.cat([means.square().sum(-1, keepdim=True) / -2, means], -1))


def _add(sums: Sums, name: str, part: Tensor) -> None:
    if name in sums:
        sums[name].add_(part)
    else:
        sums[name] = part.double()
