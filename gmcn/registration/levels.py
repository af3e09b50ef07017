"""What is registered, as two mixtures: a coarse one to search with, and a fine one to end on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmcn.data.views import FEWEST
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.mixture import GaussianMixture, Mixture, MixtureTree
from gmcn.ops import reduce_treehem
from gmcn.ops.poses import Components

COARSE, FINE = 8, 32  # Gaussians of a cloud
MOST = 64  # of a mixture that is taken as it is
EM_STEPS = 10


@dataclass(frozen=True)
class Levels:
    """Two mixtures of one object, in float64, about their common mean."""

    coarse: Components
    fine: Components
    centre: Tensor  # [3], where the mean was
    size: float  # root of the mean square distance from it

    def scaled(self, size: float) -> tuple[Components, Components]:
        """Coarse and fine in units of ``size``, in float32."""
        coarse, fine = (
            (weights.float(), (means / size).float(), (covariances / size**2).float())
            for weights, means, covariances in (self.coarse, self.fine)
        )
        return coarse, fine


def levels_of(shape: Tensor | np.ndarray | GaussianMixture | MixtureTree, name: str, seed: int = 0) -> Levels:
    """The levels of a cloud [M, 3], which k-means and 10 EM steps fit, of a mixture or of a tree.

    A mixture of more than 64 components is reduced; of a tree the finest level of no more is taken.

    Raises:
        InputError: other shapes, fewer than 8 different points, all in one place, or what is not finite.
    """
    if isinstance(shape, MixtureTree):
        few = [level for level in shape.levels if level.components <= MOST]
        shape = few[-1] if few else shape.levels[0]
    fine = _of_mixture(shape, name) if isinstance(shape, GaussianMixture) else _of_cloud(shape, name, seed)
    if fine.components > MOST:
        fine = reduce_treehem(fine, FINE)
    coarse = reduce_treehem(fine, COARSE)
    return _centred(coarse, fine, name)


def _of_cloud(cloud: Tensor | np.ndarray, name: str, seed: int) -> Mixture:
    points = torch.as_tensor(cloud).detach().cpu().double()
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"the {name} is {list(points.shape)}, but must be a cloud [points, 3], a mixture or a tree")
    bad = ~points.isfinite().all(1)
    if bad.any():
        raise InputError(
            f"the {name} has {int(bad.sum())} points that are not finite (the first is point "
            f"{int(bad.nonzero()[0])}, from 0); leave them out"
        )
    distinct = len(np.unique(points.numpy(), axis=0))
    if distinct == 1:
        raise InputError(f"the {name} has all its points in one place; there is nothing to register")
    if distinct < FEWEST:
        raise InputError(f"the {name} has {distinct} different points; a registration needs {FEWEST}")
    return fit_points(points[None], min(FINE, distinct // 2), em_steps=EM_STEPS, seed=seed).map(lambda part: part[0])


def _of_mixture(mixture: GaussianMixture, name: str) -> Mixture:
    if mixture.dim != 3 or mixture.batch_shape:
        raise InputError(
            f"the {name} is a mixture {[*mixture.batch_shape, mixture.components]} in {mixture.dim}D, but "
            "must be one mixture in 3D"
        )
    found = mixture.detach().mixture().to("cpu", torch.float64)
    if not all(part.isfinite().all() for part in found):
        raise InputError(f"the {name} is a mixture with a number that is not finite")
    keep = found.weights > 0
    return found.map(lambda part: part[keep])


def _centred(coarse: Mixture, fine: Mixture, name: str) -> Levels:
    centre = fine.weights @ fine.positions
    spread = fine.covariances.diagonal(dim1=-2, dim2=-1).sum(-1) + (fine.positions - centre).square().sum(-1)
    size = float((fine.weights @ spread).sqrt())
    if not size > 0:
        raise InputError(f"the {name} has no extent; there is nothing to register")
    moved = tuple((each.weights, each.positions - centre, each.covariances) for each in (coarse, fine))
    return Levels(moved[0], moved[1], centre, size)
