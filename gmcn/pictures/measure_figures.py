"""Pictures of the measures of Gaussian mixture layers: where the components are, in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn.mixture import Mixture
from gmcn.nn import GaussianMixtureLayer
from gmcn.pictures import still
from gmcn.pictures.drawing import ellipses, extent

EPOCHS = (0, 1, 5)  # are shown, where there are snapshots of them, and the last
Layers = Mapping[str, GaussianMixtureLayer]


def draw_measures(
    shown: Mapping[int, Layers],  # by epoch, the layers by their names
    lengths: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],  # by seed, of each layer, by epoch
    output: Path,
) -> list[Path]:
    """Write ``output``.png and .svg: a row for each layer, a panel for each epoch, and how far the components went.

    The panels show the means of w on two axes, and ellipses of one standard deviation. The axes are the same in all
    panels of a row, the principal ones of the last means. Where a seed has snapshots, the last panel has the way from
    one to the next, added up.
    """
    last = max(shown)
    epochs = [epoch for epoch in sorted(shown) if epoch in EPOCHS or epoch == last]
    far = any(path for layers in lengths.values() for path in layers)
    columns = len(epochs) + far
    figure, grid = still.panels(len(shown[last]), columns, 2.9 * columns, 3.1 * len(shown[last]))
    for place, (name, layer) in enumerate(shown[last].items()):
        axes = principal_axes(layer)
        row = [projected(shown[epoch][name], axes) for epoch in epochs]
        low, high = extent(None, *row, deviations=1.0)
        margin = 0.05 * float((high - low).max())
        box = (low[0] - margin, high[0] + margin, high[1] + margin, low[1] - margin)
        for panel, mixture, epoch in zip(grid[place], row, epochs, strict=False):
            _panel(panel, mixture, box)
            panel.set_title(f"epoch {epoch}", fontsize=10)
        grid[place, 0].set_ylabel(name, fontsize=9)
        if far:
            _ways(grid[place, -1], min(shown), {seed: layers[place] for seed, layers in lengths.items()})
    return still.save_both(figure, output)


@torch.no_grad()
def principal_axes(layer: GaussianMixtureLayer) -> Tensor:  # [d + 1, 2]
    """The two directions in which the means of w differ most, weighted as the components are; at most K - 1 are not 0.

    The largest entry of each is positive, so that a picture does not depend on a sign.
    """
    means, weights = layer.means[:, : layer.inner].double(), layer.logits.softmax(0).double()
    spread = weights.sqrt()[:, None] * (means - weights @ means)
    rows = torch.linalg.svd(spread, full_matrices=False).Vh[:2]
    axes = torch.zeros(2, layer.inner, dtype=torch.float64)
    axes[: len(rows)] = rows
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return (axes * torch.where(signs == 0, 1.0, signs)).mT


@torch.no_grad()
def projected(
    layer: GaussianMixtureLayer,
    axes: Tensor,  # [d + 1, 2]
) -> Mixture:  # [K], D = 2
    """The mixture of w, seen along the other directions than ``axes``, in float64 on the CPU."""
    inner = slice(0, layer.inner)
    weights, means, factors = (
        tensor.detach().cpu().double() for tensor in (layer.logits.softmax(0), layer.means, layer.factors)
    )
    along = factors[..., inner] @ axes  # [K, R, 2]
    covariances = along.mT @ along + 1e-12 * torch.eye(2, dtype=torch.float64)
    if layer.stds is not None:
        covariances = covariances + torch.einsum("kd,da,db->kab", layer.stds.detach().cpu().double() ** 2, axes, axes)
    return Mixture(weights, means[:, inner] @ axes, covariances)


def _panel(axes: Any, mixture: Mixture, box: tuple[float, float, float, float]) -> None:
    from matplotlib.collections import PolyCollection

    shares = (mixture.weights / mixture.weights.max()).numpy()
    faces = [(0.14, 0.33, 0.55, 0.06 + 0.24 * share) for share in shares]
    outlines = list(ellipses(mixture, deviations=1.0))
    axes.add_collection(PolyCollection(outlines, facecolors=faces, edgecolors=(0.14, 0.33, 0.55), linewidths=0.4))
    axes.scatter(*mixture.positions.numpy().T, s=5 + 15 * shares, color="0.1", zorder=2)
    still.frame(axes, box)


def _ways(axes: Any, start: int, paths: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    for seed, path in paths.items():
        far = accumulate((step["length"] for step in path.values()), initial=0.0)
        axes.plot([start, *map(int, path)], list(far), "o-", ms=3, label=f"seed {seed}")
    axes.set_title("way of the components", fontsize=10)
    axes.set_xlabel("epoch")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
