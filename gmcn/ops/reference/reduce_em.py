"""The modified EM of section 4.1: one step from the components of largest weight."""

from __future__ import annotations

import torch

from gmcn.mixture import Mixture
from gmcn.ops.reference.em import expected_log_densities, moments, take

VIRTUAL_SAMPLES = 20.0
MIN_MASS = 0.05  # of a mixture, where weights are normalised
MIN_SHARE = 1e-5  # of a responsibility's or a component's normaliser
SINGULAR_SHARE = 1e-4  # components with less get this much added to their covariance


def reduce_em(
    mixture: Mixture,  # [..., N]
    n: int,
) -> Mixture:  # [..., min(n, N)]
    """One step of expectation-maximisation, started from the ``n`` components of largest absolute weight.

    The likelihoods are constants to the gradient, as are the positions and covariances of the selected components;
    it flows through the targets and through the mixing weights of the selected ones.
    """
    if n >= mixture.components:
        return mixture
    weights = mixture.weights
    order = weights.detach().abs().sort(dim=-1, descending=True, stable=True).indices[..., :n]
    mass = weights.abs().sum(-1, keepdim=True).clamp(min=MIN_MASS)
    shares = weights.abs() / mass  # [..., N]
    selected = weights.gather(-1, order)
    mixing = selected.abs() / selected.abs().sum(-1, keepdim=True).clamp(min=MIN_MASS)  # [..., n]

    constant = mixture.detach()  # in forward mode too, which no_grad() would not be
    log_likelihoods = expected_log_densities(constant, take(constant, order))
    log_likelihoods = VIRTUAL_SAMPLES * shares.detach()[..., :, None] * log_likelihoods
    # The largest likelihood of each row is divided out, of the clamp too: thin components would overflow.
    largest = log_likelihoods.amax(-1, keepdim=True)
    likelihoods, floor = (log_likelihoods - largest).exp(), MIN_SHARE * (-largest).exp()
    joint = likelihoods * mixing[..., None, :]  # [..., N, n]
    responsibilities = joint / joint.sum(-1, keepdim=True).clamp(min=floor)

    parts = responsibilities * shares[..., :, None]  # [..., N, n]
    new_shares = parts.sum(-2)
    positions, covariances = moments(parts / new_shares[..., None, :].clamp(min=MIN_SHARE), mixture)
    singular = SINGULAR_SHARE * (new_shares < SINGULAR_SHARE).to(weights.dtype)
    identity = torch.eye(mixture.dim, dtype=weights.dtype, device=weights.device)
    covariances = covariances + singular[..., None, None] * identity
    return Mixture(new_shares * mass * selected.detach().sign(), positions, covariances)
