"""Families of covariances as EM sees them: which sums over points they need, and the best parameters for such sums.

The log-density of a Gaussian is linear in *features* of a point: one, its coordinates, and their squares (diagonal) or
all their products (full). So the E-step is one matrix product with coefficients, and the sums of the M-step are one
product with responsibilities. A factor analyser adds what its factors explain.

Points are centred; coefficients are in the points' dtype and sums in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gmcn.mixture import Covariance, Diagonal, Full, GaussianMixture
from gmcn.mixture.covariance import triangle
from gmcn.mixture.families import quadratic_form

# A component below this share of the mass is empty: it keeps its mean and covariance, and has weight 0.
EMPTY_MASS = 1e-12
Sums = dict[str, Tensor]  # by name, linear in the points' masses
Flooring = Literal["clip", "add"]


@dataclass(frozen=True)
class Form:
    """A mixture as the E-step needs it: log-densities are features @ coefficientsᵀ, plus half the explained."""

    coefficients: Tensor  # [..., N, F]
    maps: Tensor | None = None  # [..., 1 + D, N R]
    triangle: Tensor | None = None  # [..., N, R, R], in float64


class Family:
    """What the families share; ``floor`` is a variance in squared units of the points."""

    kind: ClassVar[type[Covariance]]
    exact: ClassVar[int] = 8  # up to so many dimensions all is computed in float64: products cancel in thin components

    def __init__(self, floor: float, flooring: Flooring) -> None:
        self.floor, self.flooring = floor, flooring

    def count(self, dim: int) -> int:
        """The number F of features."""
        return 1 + 2 * dim

    def width(self, dim: int, components: int) -> int:
        """How many numbers of four bytes an E-step holds for a point."""
        return self.count(dim) + components

    def features(
        self,
        x: Tensor,  # [..., T, D]
        centre: Tensor,  # [..., 1, D]
        out: Tensor,  # [..., T, F]
    ) -> Tensor:  # [..., T, F]
        """Of points about the centre: one, the coordinates, and what else the log-density is linear in; ``out``."""
        raise NotImplementedError

    def form(self, mixture: GaussianMixture, dtype: torch.dtype) -> Form:
        """The coefficients [..., N, F] of the features, in float64 before they are rounded to ``dtype``."""
        raise NotImplementedError

    def complete(self, sums: Sums, form: Form) -> Sums:
        """The sums as they are averaged over batches, from those of the E-step with the mixture of ``form``."""
        return sums

    def maximise(self, sums: Sums, before: GaussianMixture) -> GaussianMixture:
        """The mixture of the largest expected log-likelihood; empty components stay as they were, with weight 0."""
        moments = sums["moments"]  # [..., N, F]
        mass, total = moments[..., 0], sums["total"]
        empty = mass <= EMPTY_MASS * total[..., None]
        safe = torch.where(empty, 1.0, mass)
        logits = torch.where(empty, -math.inf, (safe / total[..., None]).log())
        means, *parts = self.solve({**sums, "moments": moments / safe[..., None]}, safe)
        fitted = unchecked(logits, means, self.kind, *parts)
        stays = unchecked(
            logits, before.means, self.kind, *(getattr(before.covariance, name) for name in fields_of(before))
        )
        return mapped(lambda new, old: torch.where(like(empty, new), old, new), fitted, stays)

    def solve(self, sums: Sums, mass: Tensor) -> tuple[Tensor, ...]:
        """Means, and the parameters of the covariances, from moments per unit of a component's mass."""
        raise NotImplementedError

    def of_deviations(
        self,
        x: Tensor,  # [S, D], times the roots of masses with sum one
    ) -> tuple[Tensor, ...]:
        """Parameters of one covariance, that of points which have the mean 0."""
        raise NotImplementedError

    def round(
        self,
        variances: Tensor,  # [D]
    ) -> tuple[Tensor, ...]:
        """Parameters of one covariance without correlations."""
        raise NotImplementedError

    def floored(self, variances: Tensor) -> Tensor:
        """Variances that are at least the floor, or to which it is added."""
        if self.flooring == "clip":
            return variances.clamp_min(self.floor)
        return variances.clamp_min(0) + self.floor

    def convert(self, covariance: Covariance) -> Covariance:
        """A given start in this family; ValueError where it is another one's."""
        if not isinstance(covariance, self.kind):
            raise ValueError(f"is {type(covariance).__name__}, not {self.kind.__name__}")
        return covariance


class DiagonalFamily(Family):
    """Variances along the axes, or one variance for all of them (``spherical``)."""

    kind = Diagonal

    def __init__(self, floor: float, flooring: Flooring, spherical: bool = False) -> None:
        super().__init__(floor, flooring)
        self.spherical = spherical

    def features(self, x: Tensor, centre: Tensor, out: Tensor) -> Tensor:
        dim = x.shape[-1]
        out[..., 0] = 1.0
        torch.sub(x, centre, out=out[..., 1 : 1 + dim])
        torch.square(out[..., 1 : 1 + dim], out=out[..., 1 + dim :])
        return out

    def form(self, mixture: GaussianMixture, dtype: torch.dtype) -> Form:
        return Form(quadratic(mixture, mixture.covariance.std).to(dtype))

    def solve(self, sums: Sums, mass: Tensor) -> tuple[Tensor, ...]:
        means, squares = sums["moments"][..., 1:].tensor_split(2, -1)
        variances = squares - means.square()
        if self.spherical:
            variances = variances.mean(-1, keepdim=True).expand(means.shape)
        return means, self.floored(variances).sqrt()

    def of_deviations(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.round(x.square().sum(0))

    def round(self, variances: Tensor) -> tuple[Tensor, ...]:
        if self.spherical:
            variances = variances.mean().expand(variances.shape)
        return (self.floored(variances).sqrt(),)


class FullFamily(Family):
    """Any covariance, in float64: products of coordinates cancel where a component is thin."""

    kind = Full
    exact = 1 << 62

    def count(self, dim: int) -> int:
        return 1 + dim + dim * (dim + 1) // 2

    def width(self, dim: int, components: int) -> int:
        return 2 * super().width(dim, components)

    def features(self, x: Tensor, centre: Tensor, out: Tensor) -> Tensor:
        dim, end = x.shape[-1], 1 + x.shape[-1]
        out[..., 0] = 1.0
        x = torch.sub(x, centre, out=out[..., 1:end])
        for row in range(dim):  # of the upper triangle of products
            torch.mul(x[..., row, None], x[..., row:], out=out[..., end : end + dim - row])
            end += dim - row
        return out

    def form(self, mixture: GaussianMixture, dtype: torch.dtype) -> Form:
        means, factor = mixture.means, mixture.covariance.factor
        dim = mixture.dim
        precisions = torch.cholesky_inverse(factor)
        linear = (precisions @ means[..., None])[..., 0]
        constant = mixture.logits - (mixture.covariance.logdet() + dim * math.log(2 * math.pi)) / 2
        constant = constant - (linear * means).sum(-1) / 2
        rows, columns = torch.triu_indices(dim, dim, device=means.device)
        # Off-diagonal products stand once among the features and twice in the quadratic form.
        factors = torch.where(rows == columns, -0.5, -1.0).to(means)
        return Form(torch.cat([constant[..., None], linear, factors * precisions[..., rows, columns]], -1).to(dtype))

    def solve(self, sums: Sums, mass: Tensor) -> tuple[Tensor, ...]:
        moments = sums["moments"]
        dim = (math.isqrt(8 * moments.shape[-1] + 1) - 3) // 2  # of (D + 1) (D + 2) / 2 features
        means, products = moments[..., 1 : 1 + dim], moments[..., 1 + dim :]
        rows, columns = torch.triu_indices(dim, dim, device=means.device)
        covariances = products.new_empty(*means.shape, dim)
        covariances[..., rows, columns] = products
        covariances[..., columns, rows] = products
        return means, self.factor_of(covariances - means[..., :, None] * means[..., None, :])

    def factor_of(self, covariances: Tensor) -> Tensor:  # [..., D, D]
        """The Cholesky factors of floored covariances; not a number where a covariance is not finite."""
        if self.flooring == "add":
            covariances = covariances.clone()
            covariances.diagonal(dim1=-2, dim2=-1).add_(self.floor)
        factor, failed = torch.linalg.cholesky_ex(covariances)
        if self.flooring == "clip" or failed.any():
            values, axes = torch.linalg.eigh(torch.where(covariances.isfinite(), covariances, 0.0))
            thin = values[..., 0] < self.floor
            clipped = axes * values.clamp_min(self.floor).sqrt()[..., None, :]
            # Of a root of the clipped matrix, which is never multiplied out.
            factor = torch.where(thin[..., None, None], triangle(clipped), factor)
        return torch.where(covariances.isfinite().all(-1).all(-1)[..., None, None], factor, math.nan)

    def of_deviations(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.factor_of(x.mT @ x),)

    def round(self, variances: Tensor) -> tuple[Tensor, ...]:
        return (self.floored(variances).sqrt().diag_embed(),)

    def convert(self, covariance: Covariance) -> Covariance:
        return covariance.full()


def quadratic(mixture: GaussianMixture, std: Tensor) -> Tensor:  # [..., N, 1 + 2 D]
    """Coefficients of one, the coordinates and their squares in the log-density of independent coordinates."""
    coefficients, constant = quadratic_form(std, mixture.means)
    squares, slopes = (coefficients / -2).tensor_split(2, -1)
    constant = mixture.logits - std.log().sum(-1) - (constant + mixture.dim * math.log(2 * math.pi)) / 2
    return torch.cat([constant[..., None], slopes, squares], -1)


def like(mask: Tensor, tensor: Tensor) -> Tensor:
    """The mask with as many dimensions as the tensor, behind."""
    return mask.reshape((*mask.shape, *(1,) * (tensor.ndim - mask.ndim)))


def fields_of(mixture: GaussianMixture) -> list[str]:
    """Names of the parameters of its covariances."""
    return [field.name for field in fields(mixture.covariance)]


def mapped(function: Callable[..., Tensor], *mixtures: GaussianMixture) -> GaussianMixture:
    """The mixture of ``function`` of the tensors of mixtures of one family."""
    logits, means = (function(*(getattr(one, name) for one in mixtures)) for name in ("logits", "means"))
    names = fields_of(mixtures[0])
    parts = [function(*(getattr(one.covariance, name) for one in mixtures)) for name in names]
    return unchecked(logits, means, type(mixtures[0].covariance), *parts)


def replaced(mixture: GaussianMixture, **tensors: Tensor) -> GaussianMixture:
    """The mixture with other ``logits`` or ``means``."""
    logits, means = (tensors.get(name, getattr(mixture, name)) for name in ("logits", "means"))
    parts = (getattr(mixture.covariance, name) for name in fields_of(mixture))
    return unchecked(logits, means, type(mixture.covariance), *parts)


def unchecked(logits: Tensor, means: Tensor, kind: type[Covariance], *parts: Tensor) -> GaussianMixture:
    """A mixture whose values are not asked: the fit looks at them itself, to name component and step."""
    covariance = object.__new__(kind)
    for name, part in zip((field.name for field in fields(kind)), parts, strict=True):
        object.__setattr__(covariance, name, part)
    mixture = object.__new__(GaussianMixture)
    for name, value in (("logits", logits), ("means", means), ("covariance", covariance)):
        object.__setattr__(mixture, name, value)
    return mixture
