"""Families of covariance matrices, each in the parameters with which it is computed: what they share, and any matrix.

Every family knows a root A [D, K] of its matrices, C = A Aᵀ, and answers four questions: ``whiten`` (vectors whose
squared lengths are squared Mahalanobis distances), ``color`` (its inverse: noise becomes deviations), ``logdet`` and
``dense``. No family inverts a matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmcn.mixture.tensors import check_floats, check_values
from gmcn.precision import full_precision_methods


@full_precision_methods
@dataclass(frozen=True, eq=False)
class Covariance:
    """Covariances [..., N] in D dimensions: what the four families share."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [..., N] of the components."""
        return tuple(self.row.shape[:-1])

    @property
    def dim(self) -> int:
        """Number of dimensions D."""
        return self.row.shape[-1]

    @property
    def row(self) -> Tensor:  # [..., N, D]
        """Something with one number for each coordinate of each mean."""
        raise NotImplementedError

    @property
    def noise(self) -> int:
        """How many standard normal numbers K :meth:`color` needs for a vector."""
        return self.dim

    def root(self) -> Tensor:  # [..., N, D, K]
        """A with C = A Aᵀ. Memory N D K."""
        raise NotImplementedError

    def whiten(
        self,
        deltas: Tensor,  # [..., N, M, D], M vectors for each component
    ) -> Tensor:  # [..., N, M, K]
        """y with deltaᵀ C⁻¹ delta = |y|², and A y = delta."""
        raise NotImplementedError

    def color(
        self,
        noise: Tensor,  # [..., N, M, K]
    ) -> Tensor:  # [..., N, M, D]
        """A y for each y in ``noise``: deviations from the mean, where the noise is standard normal."""
        return noise @ self.root().mT

    def logdet(self) -> Tensor:  # [..., N]
        """Logarithm of the determinant of C."""
        raise NotImplementedError

    def dense(self) -> Tensor:  # [..., N, D, D]
        """C itself, symmetric to the last bit. Memory N D²."""
        root = self.root()
        product = root @ root.mT
        return (product + product.mT) / 2

    def full(self) -> Full:
        """The same covariances as :class:`Full`. Memory N D K."""
        return Full.from_root(self.root())

    def transform(
        self,
        matrix: Tensor,  # [..., 1, D, D]
    ) -> Covariance:
        """The covariances B C Bᵀ for a matrix B, in this family where it has them, else as :class:`Full`."""
        return Full.from_root(matrix @ self.root())

    def distances(
        self,
        x: Tensor,  # [..., M, D]
        means: Tensor,  # [..., N, D]
        centre: Tensor,  # [..., 1, D], near both; for families that expand the square
    ) -> Tensor:  # [..., M, N]
        """Squared Mahalanobis distances. Memory M N K."""
        deltas = x[..., None, :, :] - means[..., :, None, :]
        return self.whiten(deltas).square().sum(-1).mT

    def bures(
        self,
        other: Covariance,
    ) -> Tensor:  # [..., N]
        """Squared Bures distances: tr C + tr C' - 2 tr (C^½ C' C^½)^½, the least |A - A' Q|² over all rotations Q.

        As the least sum of squares it is never negative, loses no digits and needs no square root of a matrix; the
        identity is one of the Q tried, so that it is exactly 0 for equal parameters. The best Q is held fixed in the
        gradient, which is therefore the exact one, finite also where both are equal. It has no second derivative.
        """
        first, second = self.root(), other.root()
        width = max(first.shape[-1], second.shape[-1])
        first, second = (torch.nn.functional.pad(root, (0, width - root.shape[-1])) for root in (first, second))
        with torch.no_grad():
            left, _, right = torch.linalg.svd(second.mT @ first)
            turn = left @ right
        turned = (first - second @ turn).square().sum((-2, -1))
        return torch.minimum(turned, (first - second).square().sum((-2, -1)))

    def _check(self, **letters: str) -> None:
        """ValueError unless the parameters are finite floats of the shapes that letters say: "DR" is [..., N, D, R]."""
        kind = type(self).__name__
        tensors = {f"{kind}.{name}": getattr(self, name) for name in letters}
        check_floats(**tensors)
        first, rank = next(iter(tensors.values())), len(next(iter(letters.values())))
        lead, dim = first.shape[:-rank], first.shape[-rank] if first.ndim > rank else 0
        for (name, tensor), sizes in zip(tensors.items(), letters.values(), strict=True):
            expected = (*lead, *(dim if letter == "D" else tensor.shape[-1] for letter in sizes))
            if dim == 0 or tensor.shape != expected:
                beside = "" if tensor is first else f" to fit {next(iter(tensors))} {list(first.shape)}"
                raise ValueError(f"{name} must be [..., N, {', '.join(sizes)}]{beside}, got {list(tensor.shape)}")
            check_values(tensor.isfinite().flatten(-len(sizes)).all(-1), f"{name} is not finite")


@full_precision_methods
@dataclass(frozen=True, eq=False)
class Full(Covariance):
    """C = L Lᵀ with any positive definite C. ``log_prob`` at M points: memory N D² + M N D.

    Args:
        factor: L [..., N, D, D], lower triangular with a positive diagonal (a Cholesky factor).

    Raises:
        ValueError: a factor of another shape, not finite, not triangular, or with a diagonal that is not positive.
    """

    factor: Tensor  # [..., N, D, D]

    def __post_init__(self) -> None:
        self._check(factor="DD")
        check_values(
            ((self._diagonal > 0) & (self.factor.triu(1) == 0).all(-1)).all(-1),
            "Full.factor must be lower triangular with a positive diagonal; Full.from_dense takes covariances",
        )

    @classmethod
    def from_dense(
        cls,
        covariances: Tensor,  # [..., N, D, D]
    ) -> Full:
        """From symmetric positive definite matrices (their lower triangles are read).

        Raises:
            ValueError: a matrix that is not positive definite; on CUDA it becomes not-a-number.
        """
        check_floats(covariances=covariances)
        if covariances.ndim < 3 or covariances.shape[-1] != covariances.shape[-2]:
            raise ValueError(f"covariances must be [..., N, D, D], got {list(covariances.shape)}")
        check_values(covariances.isfinite().flatten(-2).all(-1), "covariances are not finite")
        factor, failed = torch.linalg.cholesky_ex(covariances)
        check_values(failed == 0, "a covariance is not positive definite")
        return cls(torch.where((failed == 0)[..., None, None], factor, math.nan))

    @classmethod
    def from_root(
        cls,
        root: Tensor,  # [..., N, D, K], K >= D
    ) -> Full:
        """The covariances A Aᵀ of roots A of rank D, which are never multiplied out."""
        if root.shape[-1] < root.shape[-2]:
            raise ValueError(f"the root of a covariance has fewer columns than rows: {list(root.shape)}")
        factor = triangle(root)
        diagonal = factor.diagonal(dim1=-2, dim2=-1)
        check_values((diagonal > 0).all(-1), "the root of a covariance is singular: the covariance is not definite")
        return cls(factor)

    @property
    def row(self) -> Tensor:  # [..., N, D]
        return self.factor[..., 0]

    @property
    def _diagonal(self) -> Tensor:  # [..., N, D]
        return self.factor.diagonal(dim1=-2, dim2=-1)

    def root(self) -> Tensor:  # [..., N, D, D]
        return self.factor

    def whiten(
        self,
        deltas: Tensor,  # [..., N, M, D]
    ) -> Tensor:  # [..., N, M, D]
        return torch.linalg.solve_triangular(self.factor, deltas.mT, upper=False).mT

    def logdet(self) -> Tensor:  # [..., N]
        return 2 * self._diagonal.log().sum(-1)


def triangle(
    root: Tensor,  # [..., D, K], K >= D
) -> Tensor:  # [..., D, D]
    """The lower triangle L with L Lᵀ = A Aᵀ and a diagonal that is not negative."""
    upper = torch.linalg.qr(root.mT)[1]
    return upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
