"""Fewer components of a Gaussian mixture layer, by matching moments."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gmcn.errors import InputError
from gmcn.mixture.groups import conditional
from gmcn.mixture.low_rank import principal
from gmcn.nn.gaussian_mixture_layer import GaussianMixtureLayer


@torch.no_grad()
def merge(
    layer: GaussianMixtureLayer,
    groups: Tensor,  # [K], labels 0 ... G - 1
) -> GaussianMixtureLayer:
    """A new layer with one component for each group, which has its weight, its mean and, in its family, its covariance.

    The covariance of a group is that within its components and between their means. "full" has all of it. "low-rank"
    keeps the R largest of its principal axes beside the shared diagonal and adds the variance along the others to the
    diagonal, "diagonal" adds all: variances of w are always those of the group.

    Raises:
        ValueError: labels that are no integers, of another shape, negative, or that leave a group without one.
    """
    groups = torch.as_tensor(groups, device=layer.logits.device)
    within, weights = conditional(layer.logits, groups)
    means, factors, stds = [], [], []
    for group in range(len(weights)):
        own = groups == group
        share = within[own].exp()
        mean = share @ layer.means[own]
        between = (layer.means[own] - mean) * share.sqrt()[:, None]
        rows = torch.cat((between, (layer.factors[own] * share.sqrt()[:, None, None]).flatten(0, 1)))
        factor, rest = principal(rows.mT, layer.factors.shape[1])
        means.append(mean)
        factors.append(factor.mT)
        if layer.stds is not None:
            stds.append((share @ layer.stds[own].square() + rest[: layer.inner].square().sum(-1)).sqrt())
    merged = copy.deepcopy(layer)
    merged.logits = nn.Parameter(weights, layer.logits.requires_grad)
    merged.means = nn.Parameter(torch.stack(means), layer.means.requires_grad)
    merged.factors = nn.Parameter(torch.stack(factors), layer.factors.requires_grad)
    if layer.stds is not None:
        merged.stds = nn.Parameter(torch.stack(stds), layer.stds.requires_grad)
    return merged


@torch.no_grad()
def prune(
    layer: GaussianMixtureLayer,
    least_weight: float,
) -> GaussianMixtureLayer:
    """A new layer without components whose weight is below ``least_weight``: each is merged into the nearest other one.

    Raises:
        InputError: where no component would be left.
    """
    weights = layer.logits.softmax(0)
    kept = (weights >= least_weight).nonzero()[:, 0]
    if not len(kept):
        raise InputError(
            f"prune: all {layer.components} components have less weight than {least_weight}; the largest has "
            f"{weights.max().item():.3g}"
        )
    groups = torch.cdist(layer.means, layer.means[kept]).argmin(1)
    groups[kept] = torch.arange(len(kept), device=groups.device)  # also where means are the same
    return merge(layer, groups)
