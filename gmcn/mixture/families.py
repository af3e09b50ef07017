"""Families of covariance matrices with fewer numbers, or other ones, than any matrix has."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, triangle
from gmcn.mixture.tensors import check_values
from gmcn.precision import full_precision, full_precision_methods

# Up to so many dimensions, differences from every mean are stored: nothing cancels then, and M N D is not much.
DIRECT = 8
# How far products of axes may be from 0 and 1: what Gram and Schmidt leave in float32, and the error of a distance.
ORTHONORMAL = 1e-4


@full_precision_methods
@dataclass(frozen=True, eq=False)
class Diagonal(Covariance):
    """C = diag(std²). ``log_prob`` at M points: memory (M + N) D + M N for D > 8, else M N D.

    For D > 8 the square is expanded about the mixture's mean c, in two matrix products: a squared distance then has an
    error of about eps |(x - c) / std|², 1e-7 of that in float32.

    Args:
        std: standard deviations [..., N, D], positive.

    Raises:
        ValueError: standard deviations of another shape, not finite or not positive.
    """

    std: Tensor  # [..., N, D]

    def __post_init__(self) -> None:
        self._check(std="D")
        check_values((self.std > 0).all(-1), "Diagonal.std must be positive")

    @property
    def row(self) -> Tensor:  # [..., N, D]
        return self.std

    def root(self) -> Tensor:  # [..., N, D, D]
        return self.std.diag_embed()

    def whiten(
        self,
        deltas: Tensor,  # [..., N, M, D]
    ) -> Tensor:  # [..., N, M, D]
        return deltas / self.std[..., None, :]

    def color(
        self,
        noise: Tensor,  # [..., N, M, D]
    ) -> Tensor:  # [..., N, M, D]
        return noise * self.std[..., None, :]

    def logdet(self) -> Tensor:  # [..., N]
        return 2 * self.std.log().sum(-1)

    def transform(
        self,
        matrix: Tensor,  # [..., 1, D, D]
    ) -> Covariance:
        if not is_monomial(matrix):
            return super().transform(matrix)
        return Diagonal((matrix.abs() @ self.std[..., None])[..., 0])

    def distances(
        self,
        x: Tensor,  # [..., M, D]
        means: Tensor,  # [..., N, D]
        centre: Tensor,  # [..., 1, D]
    ) -> Tensor:  # [..., M, N]
        if self.dim <= DIRECT:
            return super().distances(x, means, centre)
        return expanded(self.std, x - centre, means - centre).clamp(min=0)

    def bures(
        self,
        other: Covariance,
    ) -> Tensor:  # [..., N]
        if isinstance(other, Diagonal):
            return (self.std - other.std).square().sum(-1)
        return super().bures(other)


@full_precision_methods
@dataclass(frozen=True, eq=False)
class Frame(Covariance):
    """C = axes diag(variances) axesᵀ with orthonormal axes. ``log_prob`` at M points: memory N D² + M N D.

    The transpose of the axes is taken for their inverse, in gradients too: vary them as rotations vary.

    Args:
        axes: [..., N, D, D], an axis in each *column*, as from torch.linalg.eigh; orthonormal up to 1e-4, which is
            then the relative error of squared distances.
        variances: [..., N, D] along the axes, positive.

    Raises:
        ValueError: parameters whose shapes do not fit, not finite; axes not orthonormal; variances not positive.
    """

    axes: Tensor  # [..., N, D, D]
    variances: Tensor  # [..., N, D]

    def __post_init__(self) -> None:
        self._check(axes="DD", variances="D")
        check_values((self.variances > 0).all(-1), "Frame.variances must be positive")
        check_values(are_orthonormal(self.axes, ORTHONORMAL), "Frame.axes must be orthonormal, an axis in each column")

    @property
    def row(self) -> Tensor:  # [..., N, D]
        return self.variances

    def root(self) -> Tensor:  # [..., N, D, D]
        return self.axes * self.variances.sqrt()[..., None, :]

    def whiten(
        self,
        deltas: Tensor,  # [..., N, M, D]
    ) -> Tensor:  # [..., N, M, D]
        return (deltas @ self.axes) * self.variances.rsqrt()[..., None, :]

    def logdet(self) -> Tensor:  # [..., N]
        return self.variances.log().sum(-1)

    def transform(
        self,
        matrix: Tensor,  # [..., 1, D, D]
    ) -> Covariance:
        scale = matrix.square().mean((-2, -1), keepdim=True).mul(self.dim).sqrt()  # [..., 1, 1, 1], of a similarity
        if not are_orthonormal(matrix / scale, 64 * torch.finfo(matrix.dtype).eps).all():
            return super().transform(matrix)
        axes = matrix / scale @ self.axes
        return Frame(axes, (self.variances * scale[..., 0].square()).expand(axes.shape[:-1]))


@full_precision_methods
@dataclass(frozen=True, eq=False)
class LowRank(Covariance):
    """C = diag(std²) + U Uᵀ, the covariance of a factor analyser, by Woodbury's identity: nothing is D x D.

    ``log_prob`` at M points: memory (M + N R) D + M N (R + 1) for D > 8, else M N (D + R). The error is that of
    :class:`Diagonal`, for D > 8 with the same ``std``: at a point far out along U, distances lose digits.

    Args:
        std: standard deviations [..., N, D] of the diagonal part, positive.
        factor: U [..., N, D, R].

    Raises:
        ValueError: parameters whose shapes do not fit, not finite; standard deviations not positive.
    """

    std: Tensor  # [..., N, D]
    factor: Tensor  # [..., N, D, R]

    def __post_init__(self) -> None:
        self._check(std="D", factor="DR")
        check_values((self.std > 0).all(-1), "LowRank.std must be positive")

    @property
    def row(self) -> Tensor:  # [..., N, D]
        return self.std

    @property
    def rank(self) -> int:
        """Number R of factors."""
        return self.factor.shape[-1]

    @property
    def noise(self) -> int:
        return self.dim + self.rank

    def root(self) -> Tensor:  # [..., N, D, D + R]
        return torch.cat((self.std.diag_embed(), self.factor), -1)

    def _scaled(self) -> tuple[Tensor, Tensor]:  # [..., N, D, R], [..., N, R, R]
        """V = U / std, and the triangle T with T Tᵀ = 1 + Vᵀ V."""
        scaled = self.factor / self.std[..., None]
        one = torch.eye(self.rank, dtype=scaled.dtype, device=scaled.device).expand(*self.shape, -1, -1)
        return scaled, triangle(torch.cat((one, scaled.mT), -1))

    def whiten(
        self,
        deltas: Tensor,  # [..., N, M, D]
    ) -> Tensor:  # [..., N, M, D + R]
        # The least |y|² + |z|² with std y + U z = delta: a sum of squares, where Woodbury's identity subtracts.
        scaled, small = self._scaled()
        noise = deltas / self.std[..., None, :]
        factors = torch.cholesky_solve((noise @ scaled).mT, small).mT
        return torch.cat((noise - factors @ scaled.mT, factors), -1)

    def color(
        self,
        noise: Tensor,  # [..., N, M, D + R]
    ) -> Tensor:  # [..., N, M, D]
        own, factors = noise.split((self.dim, self.rank), -1)
        return own * self.std[..., None, :] + factors @ self.factor.mT

    def logdet(self) -> Tensor:  # [..., N]
        _, small = self._scaled()
        return 2 * (self.std.log().sum(-1) + small.diagonal(dim1=-2, dim2=-1).log().sum(-1))

    def transform(
        self,
        matrix: Tensor,  # [..., 1, D, D]
    ) -> Covariance:
        if not is_monomial(matrix):
            return super().transform(matrix)
        return LowRank((matrix.abs() @ self.std[..., None])[..., 0], matrix @ self.factor)

    def distances(
        self,
        x: Tensor,  # [..., M, D]
        means: Tensor,  # [..., N, D]
        centre: Tensor,  # [..., 1, D]
    ) -> Tensor:  # [..., M, N]
        if self.dim <= DIRECT:
            return super().distances(x, means, centre)
        x, means = x - centre, means - centre
        maps, _ = explaining_maps(self)
        explained = (x @ maps.movedim(-3, -2).flatten(-2)).unflatten(-1, maps.shape[-3::2])  # [..., M, N, R]
        explained = explained - (means[..., None, :] @ maps).movedim(-2, -3)
        return (expanded(self.std, x, means) - explained.square().sum(-1)).clamp(min=0)


def quadratic_form(
    std: Tensor,  # [..., N, D]
    means: Tensor,  # [..., N, D]
) -> tuple[Tensor, Tensor]:  # [..., N, 2 D], [..., N]
    """Coefficients and constant of a squared distance: |(x - mean) / std|² = (x², x) · coefficients + constant."""
    precisions = std.square().reciprocal()
    coefficients = torch.cat((precisions, -2 * (means * precisions)), -1)
    return coefficients, (means.square() * precisions).sum(-1)


def expanded(
    std: Tensor,  # [..., N, D]
    x: Tensor,  # [..., M, D]
    means: Tensor,  # [..., N, D]
) -> Tensor:  # [..., M, N]
    """|(x - means) / std|² in two matrix products."""
    coefficients, constant = quadratic_form(std, means)
    squares, slopes = coefficients.split(x.shape[-1], -1)
    return x.square() @ squares.mT + x @ slopes.mT + constant[..., None, :]


def explaining_maps(
    covariance: LowRank,  # [..., N] in D dimensions
) -> tuple[Tensor, Tensor]:  # [..., N, D, R], [..., N, R, R]
    """The maps P and the triangle T with deltaᵀ C⁻¹ delta = |delta / std|² - |Pᵀ delta|², Woodbury's identity.

    T Tᵀ = 1 + Vᵀ V and P = V T⁻ᵀ / std, with V = U / std. As log |C| = sum log std² + log |T Tᵀ|, and as the
    factors' expectation given delta is T⁻ᵀ Pᵀ delta, both are all that an expectation step needs.
    """
    scaled, small = covariance._scaled()
    maps = torch.linalg.solve_triangular(small.mT, scaled, upper=True, left=False)
    return maps / covariance.std[..., None], small


def is_monomial(
    matrix: Tensor,  # [..., D, D]
) -> bool:
    """True if the matrices only permute and scale the axes: one number in each row and each column."""
    entries = matrix != 0
    return bool(((entries.sum(-1) == 1) & (entries.sum(-2) == 1)).all())


@full_precision
def are_orthonormal(
    axes: Tensor,  # [..., D, D]
    tolerance: float,
) -> Tensor:  # [...]
    """True where the columns are orthonormal, up to ``tolerance`` in each product."""
    gram = axes.mT @ axes - torch.eye(axes.shape[-1], dtype=axes.dtype, device=axes.device)
    return gram.abs().amax((-2, -1)) <= tolerance
