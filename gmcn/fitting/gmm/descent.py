"""Stochastic gradients of the log-likelihood, as for networks: :meth:`gmcn.GaussianMixture.log_prob` and Adam."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.fitting.gmm.families import DiagonalFamily, Family, unchecked
from gmcn.mixture import Full, GaussianMixture


class Descent:
    """A mixture as parameters without bounds: logits, means, logarithms of standard deviations, factors.

    All are in units of the data's standard deviation, so that one rate suits data of any scale. The floor holds for
    standard deviations, of full covariances for the diagonal of the Cholesky factor.
    """

    def __init__(
        self, family: Family, mixture: GaussianMixture, scale: Tensor, rate: float, dtype: torch.dtype
    ) -> None:
        self.family, self.rate, self.scale = family, rate, scale[..., None, None]  # [..., 1, 1]
        covariance = mixture.covariance
        if isinstance(covariance, Full):
            std, factor = covariance.factor.diagonal(dim1=-2, dim2=-1), covariance.factor.tril(-1)
        else:
            std, factor = covariance.std, getattr(covariance, "factor", None)
        if isinstance(family, DiagonalFamily) and family.spherical:
            std = std[..., :1]
        if family.flooring == "add":
            std = (std.square() - family.floor).clamp_min(1e-3 * family.floor).sqrt()
        first = [mixture.logits.clamp_min(-1e4), mixture.means / self.scale, (std / self.scale).log()]
        first += [] if factor is None else [factor / self.scale[..., None]]
        self.parameters = [torch.nn.Parameter(tensor.to(dtype).clone()) for tensor in first]
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate)

    def step(self, x: Tensor, mass: Tensor | None, share: float) -> Tensor:  # [..., T, D], [..., T] -> [...]
        """One step at ``share`` of the rate; the mean log-likelihood before it, in the points' units."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * share
        scale = self.scale.to(x.dtype)
        with torch.enable_grad():
            values = self._scaled().log_prob(x / scale)
            if mass is None:
                value = values.mean(-1)
            else:
                value = torch.where(mass > 0, mass * values, 0.0).sum(-1) / mass.sum(-1).clamp_min(1e-30)
            self.optimizer.zero_grad()
            (-value.sum()).backward()
        self.optimizer.step()
        if self.family.flooring == "clip":
            least = (math.sqrt(self.family.floor) / self.scale).log().to(x.dtype)
            self.parameters[2].data.clamp_min_(least)
        return value.detach().double() - x.shape[-1] * self.scale[..., 0, 0].log()

    def mixture(self) -> GaussianMixture:
        """The mixture in the points' units, in float64."""
        with torch.no_grad():
            logits, means = (part.double() for part in self.parameters[:2])
            parts = self._covariance(self.scale)
            return unchecked(logits.log_softmax(-1), means * self.scale, self.family.kind, *parts)

    def _scaled(self) -> GaussianMixture:
        logits, means = self.parameters[:2]
        return unchecked(logits.log_softmax(-1), means, self.family.kind, *self._covariance())

    def _covariance(self, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """The parameters of its covariances; with ``scale`` in the points' units and float64."""
        std, *factors = (part if scale is None else part.double() for part in self.parameters[2:])
        std = std.exp()
        if self.family.flooring == "add":
            std = (std.square() + (self.family.floor / self.scale.square()).to(std.dtype)).sqrt()
        if scale is not None:
            std, factors = std * scale, [factor * scale[..., None] for factor in factors]
        if self.family.kind is Full:
            return (factors[0].tril(-1) + std.diag_embed(),)
        return (std.expand(self.parameters[1].shape), *factors)
