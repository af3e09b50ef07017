"""Other ways to evaluate mixtures, each a function of weights, positions, covariances and points like ours.

Those that are made of matrix products also take several sets of weights, [B, N, W], which then share the exponentials.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable

import torch
from measuring import ABSENT, NotApplicableError
from torch import Tensor


def log_scale(covariances: Tensor) -> Tensor:
    return -0.5 * (torch.logdet(covariances) + covariances.shape[-1] * math.log(2 * math.pi))


def broadcasting(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor) -> Tensor:
    """The definition, written down: memory O(N M)."""
    delta = points[:, :, None] - positions[:, None]  # [B, M, N, D]
    precisions = torch.linalg.inv(covariances)[:, None]
    distances = (delta[..., None, :] @ precisions @ delta[..., None])[..., 0, 0]
    scale = weights * log_scale(covariances).exp()
    return (torch.exp(-0.5 * distances) * scale[:, None]).sum(-1)


def features(positions: Tensor, covariances: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """log density as an inner product: of quadratic features of the points, and of coefficients of the Gaussians."""
    precisions = torch.linalg.inv(covariances)
    linear = (precisions @ positions[..., None])[..., 0]
    constant = log_scale(covariances) - 0.5 * (linear * positions).sum(-1)
    theta = torch.cat((-0.5 * precisions.flatten(-2), linear, constant[..., None]), -1)  # [B, N, D D + D + 1]
    square = (points[..., :, None] * points[..., None, :]).flatten(-2)
    return torch.cat((square, points, torch.ones_like(points[..., :1])), -1), theta


def quadratic(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor) -> Tensor:
    """Two matrix products around one exponential."""
    phi, theta = features(positions, covariances, points)
    sets = weights if weights.dim() == 3 else weights[..., None]
    return (torch.exp(phi @ theta.mT) @ sets).reshape(*points.shape[:2], *weights.shape[2:])


def attention(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor) -> Tensor:
    """Fused attention as a sum of exponentials: softmax times its normaliser, which one extra key of score 0 reads."""
    phi, theta = features(positions, covariances, points)
    sets = weights if weights.dim() == 3 else weights[..., None]
    b, n, count = sets.shape
    width = 16  # heads of a multiple of eight
    query = torch.nn.functional.pad(phi, (0, width - phi.shape[-1]))[:, None]
    key = torch.nn.functional.pad(theta, (0, width - theta.shape[-1], 0, 1))[:, None]
    value = points.new_zeros(b, n + 1, width)
    value[:, :n, :count] = sets
    value[:, n, count] = 1
    result = torch.nn.functional.scaled_dot_product_attention(query, key, value[:, None], scale=1.0)[:, 0]
    return (result[..., :count] / result[..., count, None]).reshape(*points.shape[:2], *weights.shape[2:])


def relu_fit_by(evaluate: Callable[..., Tensor], offset: float) -> Callable[..., Tensor]:
    """Equations (6) and (7) on top of one of these functions: both sets of weights in one call."""

    def fit(weights: Tensor, positions: Tensor, covariances: Tensor) -> Tensor:
        positive = weights.clamp(min=0) + offset
        f, g = evaluate(torch.stack((weights, positive), -1), positions, covariances, positions).unbind(-1)
        return positive * f.clamp(min=0) / g

    return fit


def keops(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor) -> Tensor:
    """KeOps' symbolic tensors, centred form; compiles its loops at the first call."""
    lazy = _keops_tensors()
    scale = weights * log_scale(covariances).exp()
    delta = lazy(points[:, :, None]) - lazy(positions[:, None])
    distances = delta.weightedsqnorm(lazy(torch.linalg.inv(covariances).flatten(-2)[:, None]))
    return ((-0.5 * distances).exp() * lazy(scale[:, None, :, None])).sum(2)[..., 0]


def _keops_tensors():
    # Both are read when the package is imported; its own default is a folder in the user's home.
    os.environ.setdefault("KEOPS_CACHE_FOLDER", os.path.join(tempfile.gettempdir(), f"keops-{os.getuid()}"))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    try:
        from pykeops.torch import LazyTensor
    except ImportError:
        raise NotApplicableError(f"{ABSENT} (pip install gmcn[bench])") from None
    return LazyTensor


def scikit_learn(weights: Tensor, positions: Tensor, covariances: Tensor, points: Tensor) -> Tensor:
    """GaussianMixture.score_samples, mixture by mixture; for weights that are not negative, without gradients."""
    try:
        from sklearn.mixture import GaussianMixture
        from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky
    except ImportError:
        raise NotApplicableError(f"{ABSENT} (pip install gmcn[bench])") from None
    if weights.device.type != "cpu":
        raise NotApplicableError("on the CPU only")
    values = []
    for weight, position, covariance, point in zip(weights, positions, covariances, points, strict=True):
        model = GaussianMixture(len(weight))
        mass = weight.sum()
        model.weights_, model.means_, model.covariances_ = (weight / mass).numpy(), position.numpy(), covariance.numpy()
        model.precisions_cholesky_ = _compute_precision_cholesky(model.covariances_, "full")
        model.n_features_in_ = position.shape[-1]
        values.append(mass * torch.from_numpy(model.score_samples(point.numpy())).exp())
    return torch.stack(values)


class FormedCovariances(torch.nn.Module):
    """A Gaussian mixture layer as its equation reads: with dense covariances, memory K (d + 1 + o)²."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, inner = self.layer, self.layer.inner
        x = torch.cat((x, x.new_ones(len(x), 1)), 1)
        stds = torch.nn.functional.pad(layer.stds, (0, layer.out_features))
        covariances = torch.diag_embed(stds.square()) + layer.factors.mT @ layer.factors  # [K, d + 1 + o, d + 1 + o]
        along = x @ covariances[..., :inner].mT  # [K, B, d + 1 + o]
        variance = (along[..., :inner] * x).sum(-1).mT
        first, slope = layer.activation.moments(x @ layer.means[:, :inner].mT, variance)
        answers = first.mT[..., None] * layer.means[:, None, inner:] + slope.mT[..., None] * along[..., inner:]
        return torch.einsum("k,kbo->bo", layer.logits.softmax(0), answers)
