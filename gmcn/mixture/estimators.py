"""Mixtures of scikit-learn, in and out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmcn.mixture.covariance import Covariance, Full
from gmcn.mixture.families import Diagonal

TYPES = ("full", "tied", "diag", "spherical")


def covariance_of(estimator: Any) -> tuple[Tensor, Tensor, Covariance]:
    """Weights [N], means [N, D] and covariances of a fitted estimator; ValueError where it has none."""
    kind = getattr(estimator, "covariance_type", None)
    if kind not in TYPES or not all(hasattr(estimator, name) for name in ("weights_", "means_", "covariances_")):
        raise ValueError(f"{type(estimator).__name__} is no fitted Gaussian mixture of scikit-learn")
    weights, means, covariances = (
        torch.as_tensor(values, dtype=torch.float64).clone()
        for values in (estimator.weights_, estimator.means_, estimator.covariances_)
    )
    if kind == "full":
        return weights, means, Full.from_dense(covariances)
    if kind == "tied":
        return weights, means, Full(Full.from_dense(covariances[None]).factor.expand(len(means), -1, -1))
    variances = covariances if kind == "diag" else covariances[:, None].expand(means.shape)
    return weights, means, Diagonal(variances.sqrt())


def estimator_of(
    weights: Tensor,  # [N]
    means: Tensor,  # [N, D]
    covariance: Covariance,  # [N]
    kind: str | None,
) -> Any:
    """A ``sklearn.mixture.GaussianMixture`` as if it had been fitted; ValueError where the type does not fit."""
    from sklearn.mixture import GaussianMixture

    fitting = _types(covariance)
    kind = kind or fitting[0]
    if kind not in fitting:
        raise ValueError(f"covariance_type '{kind}' does not fit {type(covariance).__name__}: {', '.join(fitting)} do")
    if isinstance(covariance, Diagonal) and kind in ("diag", "spherical"):
        std = covariance.std if kind == "diag" else covariance.std[:, 0]
        values = [std.square(), 1 / std, std.square().reciprocal()]
    else:
        factor = covariance.full().factor[: 1 if kind == "tied" else None]
        one = torch.eye(factor.shape[-1], dtype=factor.dtype)
        roots = torch.linalg.solve_triangular(factor, one, upper=False).mT  # of precisions
        values = [Full(factor).dense(), roots, roots @ roots.mT]
        values = [value[0] for value in values] if kind == "tied" else values
    weights = weights / weights.sum()  # those of a mixture in float32 do not have the sum one in float64
    estimator = GaussianMixture(len(weights), covariance_type=kind)
    names = ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_")
    for name, value in zip(names, (weights, means, *values), strict=True):
        setattr(estimator, name, value.numpy().copy())
    estimator.n_features_in_, estimator.converged_, estimator.n_iter_ = means.shape[1], True, 0
    return estimator


def _types(covariance: Covariance) -> list[str]:
    """The names that scikit-learn may use for such covariances, the best first."""
    factor = covariance.full().factor
    tied = ["tied"] if (factor == factor[:1]).all() else []
    if isinstance(covariance, Diagonal):
        spherical = ["spherical"] if (covariance.std == covariance.std[:, :1]).all() else []
        return [*spherical, "diag", "full", *tied] if covariance.dim > 1 else ["diag", *spherical, "full", *tied]
    return [*tied, "full"] if covariance.shape[0] > 1 else ["full", *tied]
