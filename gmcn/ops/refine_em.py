"""Steps of expectation-maximisation that fit a reduced mixture better to the mixture that it was made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gmcn.mixture import Mixture
from gmcn.ops import autograd
from gmcn.ops.checks import check_at_least_zero, check_count, check_mixture, check_same, flatten
from gmcn.precision import full_precision

NEGLIGIBLE = 1e-20  # share of the mass below which a component stays where it is
PAIRS = 2**22  # responsibilities at a time; bounds memory


@full_precision
def refine_em(
    mixture: Mixture,  # [..., n], the start; weights not negative
    target: Mixture,  # [..., N], weights not negative
    steps: int = 1,
    *,
    virtual_samples: float = 2.0,
) -> Mixture:  # [..., n]
    """The mixture after ``steps`` of expectation-maximisation on all components of the target.

    Section 6 of the GMCN paper conjectures that "sampling the GM and performing one or two EM steps on these samples"
    makes the fit better. Here the target's components are the samples, each with its covariance, as in hierarchical EM
    (Vasconcelos and Lippman 1999): nothing is drawn at random, and the result is differentiable throughout. With mixing
    weights p_s, l_is = log normal(m_i; m_s, C_s) - tr(C_s^-1 C_i) / 2, the mean log density of component s over the
    target's component i, and v virtual samples, one step is equations (15) and (16):

        r_is = p_s exp(v l_is) / sum_t p_t exp(v l_it),

    and the moments of the target in the proportions w_i r_is. No step lowers sum_i w_i log sum_s p_s exp(v l_is), with
    v = 1 a lower bound of the likelihood of points drawn from the target. That is loose where the target's components
    are as wide as their distances, as after a convolution, and its optimum too smooth: from the second step on the
    error grows again. Two virtual samples, the default, do not have this, and come close to EM on points. Where few
    more than n of the target's components have weight, a reduction is nearly exact and a step blurs it.

    Mass, mean and second moment become those of the target. A component without weight, or with less than 1e-20 of the
    mass after a step, keeps its position and covariance; where all are without weight, each becomes an equal share of
    the target's one moment match.

    Time is O(N n) per step. So many mixtures are done at a time that there are some four million pairs; the backward
    pass computes them again. Computed in float64. Nobody asks whether a covariance is positive definite or a weight
    negative: then the result means nothing. Raises ValueError where shapes or options do not fit.
    """
    check_mixture(mixture)
    check_mixture(target, "target")
    check_same(target.weights, mixture.weights, ("target", "mixture"))
    if target.batch_shape != mixture.batch_shape or target.dim != mixture.dim:
        raise ValueError(
            f"target.positions {list(target.positions.shape)} and mixture.positions {list(mixture.positions.shape)} "
            "must agree but for the number of components"
        )
    check_at_least_zero(virtual_samples=virtual_samples)
    flat, samples = flatten(mixture).to(torch.float64), flatten(target).to(torch.float64)
    size = max(1, PAIRS // max(1, mixture.components * target.components))
    for _ in range(check_count(steps, "steps")):
        parts = [
            _step_again(*starts, *ends, virtual_samples)
            for starts, ends in zip(_chunks(flat, size), _chunks(samples, size), strict=True)
        ]
        flat = Mixture(*(torch.cat(part) for part in zip(*parts, strict=True)))
    return Mixture(*(new.reshape(old.shape).to(old.dtype) for new, old in zip(flat, mixture, strict=True)))


def _chunks(
    mixture: Mixture,  # [B, N]
    size: int,
) -> list[Mixture]:  # of [at most size, N]
    return [Mixture(*part) for part in zip(*(tensor.split(size) for tensor in mixture), strict=True)]


def _step_again(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A step that the backward pass does again instead of storing it; torch.func and forward mode cannot."""
    if autograd.transformed():
        return _step(*arguments)
    return checkpoint(_step, *arguments, use_reentrant=False, preserve_rng_state=False)


def _step(
    weights: Tensor,  # [B, n]
    positions: Tensor,  # [B, n, D]
    covariances: Tensor,  # [B, n, D, D]
    target_weights: Tensor,  # [B, N]
    target_positions: Tensor,  # [B, N, D]
    target_covariances: Tensor,  # [B, N, D, D]
    virtual_samples: float,
) -> tuple[Tensor, Tensor, Tensor]:  # [B, n], [B, n, D], [B, n, D, D]
    """One step, in sufficient statistics: pairs meet in products of matrices only, never with their D x D entries.

    In float64: differences of second moments have no digits of float32 left where Gaussians are thin.
    """
    dim = positions.shape[-1]
    # What follows does not depend on the origin, except for its rounding.
    origin = target_positions.detach().mean(-2, keepdim=True)  # [B, 1, D]
    at, sampled_at = positions - origin, target_positions - origin
    seconds = target_covariances + sampled_at[..., :, None] * sampled_at[..., None, :]
    statistics = torch.cat((seconds.flatten(-2), sampled_at), -1)  # [B, N, D * D + D]

    precisions = torch.linalg.inv(covariances)
    naturals = (precisions @ at[..., None])[..., 0]  # [B, n, D]
    parameters = virtual_samples * torch.cat((-0.5 * precisions.flatten(-2), naturals), -1)  # [B, n, D * D + D]
    constants = (naturals * at).sum(-1) + torch.linalg.slogdet(covariances).logabsdet  # [B, n]
    empty = weights <= 0
    bias = weights.masked_fill(empty, 1.0).log() - 0.5 * virtual_samples * constants  # [B, n]
    log_joint = torch.baddbmm(bias[:, None, :], statistics, parameters.mT)  # [B, N, n]
    log_joint = log_joint.masked_fill(empty[:, None, :], torch.finfo(weights.dtype).min)
    parts = log_joint.softmax(-1) * target_weights[..., None]

    masses = parts.sum(-2)  # [B, n]
    kept = masses > NEGLIGIBLE * target_weights.sum(-1, keepdim=True)
    means = (parts.mT @ statistics) / masses.where(kept, 1.0)[..., None]  # [B, n, D * D + D]
    second, first = means[..., : dim * dim].unflatten(-1, (dim, dim)), means[..., dim * dim :]
    spread = second - first[..., :, None] * first[..., None, :]
    kept = kept[..., None]
    return masses, (first + origin).where(kept, positions), spread.where(kept[..., None], covariances)
