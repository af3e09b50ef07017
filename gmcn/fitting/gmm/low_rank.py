"""Mixtures of factor analysers, as EM sees them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmcn.fitting.gmm.families import DiagonalFamily, Family, Flooring, Form, FullFamily, Sums, quadratic, unchecked
from gmcn.mixture import Covariance, Full, GaussianMixture, LowRank
from gmcn.mixture.families import explaining_maps

_MEMBERS = 256  # points of a cluster, from which its factors begin


class LowRankFamily(Family):
    """Factor analysers, C = diag(std²) + U Uᵀ, by the closed-form EM of Ghahramani & Hinton (1996).

    With V = U / std and the triangle T of 1 + Vᵀ V, the factors' posterior mean is T⁻ᵀ e and their covariance
    (1 + Vᵀ V)⁻¹, where e = T⁻¹ Vᵀ (x - mean) / std; the Mahalanobis distance is |(x - mean) / std|² - |e|².
    """

    kind = LowRank

    def __init__(self, floor: float, flooring: Flooring, rank: int) -> None:
        super().__init__(floor, flooring)
        self.rank = rank

    def width(self, dim: int, components: int) -> int:
        return super().width(dim, components) + 2 * components * self.rank

    features = DiagonalFamily.features

    def form(self, mixture: GaussianMixture, dtype: torch.dtype) -> Form:
        covariance = mixture.covariance
        maps, triangle = explaining_maps(covariance)
        offsets = -(mixture.means[..., None, :] @ maps)  # [..., N, 1, R]
        maps = torch.cat([offsets, maps], -2).movedim(-3, -2).flatten(-2)  # [..., 1 + D, N R]
        coefficients = quadratic(mixture, covariance.std)
        coefficients[..., 0] -= triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return Form(coefficients.to(dtype), maps.to(dtype), triangle)

    def complete(self, sums: Sums, form: Form) -> Sums:
        """Sums of e become those of the factors' posterior moments, which mean the same for every mixture."""
        triangle = form.triangle
        one = torch.eye(self.rank, dtype=triangle.dtype, device=triangle.device).expand(triangle.shape)
        inverse = torch.linalg.solve_triangular(triangle, one, upper=False)  # T⁻¹
        crossed = sums["crossed"].unflatten(-1, (-1, self.rank)).movedim(-2, -3) @ inverse  # [..., N, 1 + D, R]
        mass = sums["moments"][..., 0, None, None]
        products = mass * (inverse.mT @ inverse) + inverse.mT @ sums["products"] @ inverse
        return {**sums, "crossed": crossed, "products": products}

    def solve(self, sums: Sums, mass: Tensor) -> tuple[Tensor, ...]:
        moments = sums["moments"]
        plain, squares = moments[..., 1:].tensor_split(2, -1)
        crossed, products = (sums[name] / mass[..., None, None] for name in ("crossed", "products"))
        # About the mean, in which the sums lose no digits to it: cov(x, z) and the second moments of z.
        z = crossed[..., 0, :]  # [..., N, R], mean of the factors
        both = crossed[..., 1:, :] - plain[..., None] * z[..., None, :]  # [..., N, D, R]
        spread = products - z[..., None] * z[..., None, :]
        factor, failed = torch.linalg.solve_ex(spread, both.mT)
        factor = torch.where(failed[..., None, None] == 0, factor, math.nan).mT
        means = plain - (factor @ z[..., None])[..., 0]
        variances = squares - plain.square() - (factor * both).sum(-1)
        return means, self.floored(variances).sqrt(), factor

    def of_deviations(self, x: Tensor) -> tuple[Tensor, ...]:
        """Principal axes, as those of probabilistic PCA (Tipping & Bishop, 1999), of at most 256 points."""
        variances = x.square().sum(0)
        if len(x) > _MEMBERS:
            x = x[:_MEMBERS] * math.sqrt(len(x) / _MEMBERS)
        rank = min(self.rank, len(x) - 1)
        values, axes = torch.linalg.eigh(x @ x.mT)  # ascending
        values, axes = values[-rank:].clamp_min(0), axes[:, -rank:]
        noise = ((variances.sum() - values.sum()) / max(1, len(variances) - rank)).clamp_min(0)
        lengths = (values - noise).clamp_min(0) / values.clamp_min(1e-300)
        factor = (x.mT @ axes) * lengths.sqrt()
        factor = torch.nn.functional.pad(factor, (0, self.rank - rank))
        return self.floored(variances - factor.square().sum(1)).sqrt(), factor

    def round(self, variances: Tensor) -> tuple[Tensor, ...]:
        return self.floored(variances).sqrt(), variances.new_zeros(len(variances), self.rank)

    def convert(self, covariance: Covariance) -> Covariance:
        covariance = super().convert(covariance)
        if covariance.rank != self.rank:
            raise ValueError(f"has {covariance.rank} factors, not {self.rank}")
        return covariance


class AnyRankFamily(FullFamily):
    """Factor analysers with one factor less than dimensions, or more: they have any covariance, and are fitted so.

    The closed-form EM for factors hardly moves where a variance of the diagonal part is nearly 0, as it is here.
    """

    kind = LowRank

    def __init__(self, floor: float, flooring: Flooring, rank: int) -> None:
        super().__init__(floor, flooring)
        self.rank = rank

    def form(self, mixture: GaussianMixture, dtype: torch.dtype) -> Form:
        return super().form(unchecked(mixture.logits, mixture.means, Full, mixture.covariance.full().factor), dtype)

    def solve(self, sums: Sums, mass: Tensor) -> tuple[Tensor, ...]:
        means, triangles = super().solve(sums, mass)
        return means, *self.factors(triangles)

    def of_deviations(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.factors(*super().of_deviations(x))

    def round(self, variances: Tensor) -> tuple[Tensor, ...]:
        return self.factors(*super().round(variances))

    def convert(self, covariance: Covariance) -> Covariance:
        return LowRank(*self.factors(covariance.full().factor))

    def factors(self, triangles: Tensor) -> tuple[Tensor, Tensor]:  # [..., D, D] -> [..., D], [..., D, R]
        """The least variance for the diagonal part, and the rest of the others along their axes."""
        axes, lengths, _ = torch.linalg.svd(triangles.nan_to_num())  # descending
        least = lengths[..., -1:]
        factor = axes * (lengths.square() - least.square()).clamp_min(0).sqrt()[..., None, :]
        std = torch.where(triangles.isfinite().all(-1), least, math.nan)
        factor = torch.nn.functional.pad(factor, (0, max(0, self.rank - factor.shape[-1])))
        return std, factor[..., : self.rank]
