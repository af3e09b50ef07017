"""One step of hierarchical EM on the few Gaussians that meet in a tree node, appendix D."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.ops.reference.em import expected_log_densities, moments, take
from gmcn.precision import full_precision

TINY = 1e-13  # keeps masses, likelihoods and responsibilities away from zero
NEGLIGIBLE = 1e-7  # a component of less weight is not collected, or gets an identity covariance


def representatives(
    weights: list[float],  # [m]
    positions: list[list[float]],  # [m, D]
    n: int,
) -> list[int]:  # [n]
    """Single-linkage clustering of the centres into ``n`` clusters; the member of largest weight of each."""
    m = len(weights)
    pairs = sorted(
        (sum((a - b) ** 2 for a, b in zip(positions[i], positions[j], strict=True)), i, j)
        for i in range(m)
        for j in range(i + 1, m)
    )
    cluster = list(range(m))
    remaining = m
    for _, i, j in pairs:
        if remaining == n:
            break
        keep, drop = sorted((cluster[i], cluster[j]))
        if keep != drop:
            cluster = [keep if label == drop else label for label in cluster]
            remaining -= 1
    members = [[i for i in range(m) if cluster[i] == label] for label in sorted(set(cluster))]
    return [max(member, key=lambda i: abs(weights[i])) for member in members]


def fit(
    target: Mixture,  # [..., m]
    selected: Tensor,  # [..., n] integer
    kl_threshold: float,
    virtual_samples: float,
) -> Mixture:  # [..., n]
    """One E and one M step, equations (15) and (16), from the selected components to ``n`` new ones.

    Conserves the total weight, the mean and the second moment of the target.
    """
    weights = target.weights
    start = take(target, selected)
    mass = weights.sum(-1, keepdim=True).clamp(min=TINY)
    shares = weights / mass  # [..., m]
    mixing = start.weights / start.weights.sum(-1, keepdim=True).clamp(min=TINY)  # [..., n]

    # The clamp acts on the likelihood; in logarithms it costs no range.
    log_likelihoods = expected_log_densities(target, start).clamp(min=math.log(TINY))  # [..., m, n]
    log_joint = virtual_samples * shares[..., :, None] * log_likelihoods + mixing[..., None, :].log()
    log_joint = log_joint.clamp(min=math.log(TINY))
    gate = _gate(target.detach(), start.detach(), kl_threshold)
    responsibilities = torch.softmax(log_joint.masked_fill(gate == 0, -torch.inf), -1)

    parts = responsibilities * shares[..., :, None]  # [..., m, n]
    new_shares = parts.sum(-2)
    positions, covariances = moments(parts / new_shares[..., None, :].clamp(min=TINY), target)
    identity = torch.eye(target.dim, dtype=weights.dtype, device=weights.device)
    covariances = torch.where((new_shares < NEGLIGIBLE)[..., None, None], identity, covariances)
    return Mixture(new_shares * mass, positions, covariances)


@full_precision
def _gate(
    target: Mixture,  # [..., m]
    start: Mixture,  # [..., n]
    kl_threshold: float,
) -> Tensor:  # [..., m, n] of 0 and 1
    """Which starting Gaussians may represent which target: those of small divergence, and always the nearest.

    The geometrical regularisation of Preiner et al. (2014).
    """
    delta = target.positions[..., :, None, :] - start.positions[..., None, :, :]
    precisions = torch.linalg.inv(start.covariances)
    squared = torch.einsum("...nsi,...sij,...nsj->...ns", delta, precisions, delta)
    traces = torch.einsum("...sij,...nji->...ns", precisions, target.covariances)
    log_det, log_det_target = (torch.linalg.slogdet(some.covariances).logabsdet for some in (start, target))
    divergences = 0.5 * (squared + traces - target.dim - (log_det_target[..., :, None] - log_det[..., None, :]))
    nearest = torch.nn.functional.one_hot(divergences.argmin(-1), divergences.shape[-1]).bool()
    return ((divergences < kl_threshold) | nearest).to(target.weights.dtype)
