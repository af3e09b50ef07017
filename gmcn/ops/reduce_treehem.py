"""TreeHEM: the paper's reduction of a mixture to fewer components."""

from __future__ import annotations

from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops import autograd, library
from gmcn.ops.checks import check_at_least_zero, check_count, check_mixture, flatten

MAX_PER_NODE = 8


def reduce_treehem(
    mixture: Mixture,  # [..., N], weights not negative
    n: int,
    t: int = 2,
    *,
    kl_threshold: float = 0.5,
    virtual_samples: float = 4.0,
) -> Mixture:  # [..., min(n, N)]
    """Tree-based hierarchical expectation-maximisation, section 4.1 and appendix D of the GMCN paper.

    A radix tree over the Morton order of the centres; each node keeps at most ``t`` Gaussians, merged from its
    children's by one step of modified EM; from the root down the heaviest nodes are opened until n Gaussians are
    selected. Mass, mean and second moment are conserved, except for components lighter than 1e-7, which are dropped.
    A mixture of no more than n components is returned as it is. Where fewer than n components have weight, the rest
    are zero weights with the average covariance. Time is O(N log N), memory O(N); the tree is held fixed in the
    gradient.

    ``kl_threshold`` gates a merge by the Kullback-Leibler divergence and ``virtual_samples`` sharpens responsibilities;
    the defaults are those of the authors' code. Raises ValueError where shapes or options do not fit, and RuntimeError
    where a weight is negative, a covariance not positive definite or a value not finite (on CUDA that mixture becomes
    not-a-number).
    """
    check_mixture(mixture)
    options = check_options(n, t, kl_threshold, virtual_samples)
    if n >= mixture.components:
        return mixture
    reduced = Mixture(*autograd.call("reduce_treehem", *flatten(mixture), *options))
    return reduced.map(lambda tensor: tensor.reshape(*mixture.batch_shape, *tensor.shape[1:]))


def check_options(n: int, t: int, kl_threshold: float, virtual_samples: float) -> tuple[int, int, float, float]:
    """All four as the operations take them; ValueError where one does not fit."""
    n, t = check_count(n), check_count(t, "t")
    if t > MAX_PER_NODE:
        raise ValueError(f"t must lie in 1 to {MAX_PER_NODE}, got {t}")
    check_at_least_zero(virtual_samples=virtual_samples)
    if not kl_threshold >= 0:  # also not-a-number; infinite, it merges all
        raise ValueError(f"kl_threshold must be a number that is not negative, got {kl_threshold}")
    return n, t, float(kl_threshold), float(virtual_samples)


@library.fake("reduce_treehem")
def _(weights: Tensor, positions: Tensor, covariances: Tensor, n: int, *options: float) -> tuple[Tensor, ...]:
    return tuple(
        tensor.new_empty(tensor.shape[0], n, *tensor.shape[2:]) for tensor in (weights, positions, covariances)
    )


autograd.differentiable("reduce_treehem", tensors=3)
