"""The paper's "modified EM", in plain torch: for comparison with TreeHEM, which replaces it."""

from __future__ import annotations

from gmcn.mixture import Mixture
from gmcn.ops import reference
from gmcn.ops.checks import check_count, check_mixture


def reduce_em(
    mixture: Mixture,  # [..., N]
    n: int,
) -> Mixture:  # [..., min(n, N)]
    """One step of expectation-maximisation from the n components of largest |weight|, section 4.1 and equation (16).

    A mixture of no more than n components is returned as it is. Time and memory are O(N n): the paper ran out of
    memory with it. The likelihoods are constants to the gradient, as in the authors' code. Nobody asks whether a
    covariance is positive definite: where it is not, the result means nothing. Raises ValueError where shapes do not
    fit.
    """
    return reference.reduce_em(check_mixture(mixture), check_count(n))
