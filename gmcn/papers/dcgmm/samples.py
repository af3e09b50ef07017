"""Figures 2 and 4 to 8: what a deep convolutional mixture has learnt, and images drawn from it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.models.dcgmm import DCGMM
from gmcn.models.loading import load
from gmcn.pictures import still
from gmcn.pictures.charts import tiled
from gmcn.progress import Progress

if TYPE_CHECKING:
    from gmcn.papers.dcgmm.settings import ComparisonSettings

SEED = 0
TOPS = (2, 5, 10)
NEAR = 0.25  # of the median distance between two samples
MARK = "crimson"


def centroids(inputs: Mapping[str, Path], settings: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """Figure 2, with its numbers: both mixtures' centroids, and the image of the most frequent one of the second.

    The image is drawn without noise from the best component at each position, then sharpened.
    """
    ((name, path),) = inputs.items()
    network = _network(path)
    stack = network.stack
    if len(stack.mixtures) != 2 or any(layer.positions for layer in stack.mixtures):
        raise InputError(f"{path}: dcgmm-figure2 shows two mixtures, each the same at all positions")
    first, second = stack.mixtures
    chosen = int(network.annealing[1].usage.argmax())
    image = _drawn(network, math.inf, 1, sharpen=settings.steps, components=torch.tensor([chosen]))
    windows = first.means.detach().view(first.components, *stack.layers[0].kernel)
    positions = stack.positions(0)
    maps = _squares(second.means.detach().view(-1, first.components, positions[0] * positions[1]).mT)
    detail = [tiled(one.numpy(), 1.0, positions[1]) for one in maps]
    figure, (panels,) = still.panels(1, 4, 14, 3.8)
    _images(panels[0], windows.numpy(), 1.0, "first mixture")
    _images(panels[1], np.stack(detail), 1.0, "second mixture", [chosen])
    still.pixels(panels[2], detail[chosen], "gray")
    panels[2].set_title(f"its component {chosen}", fontsize=10)
    _images(panels[3], image, network.largest, "leads to")
    shares = second.means.detach()[chosen].view(first.components, -1)
    likely = [{"component": int(one.argmax()), "share": one.max().item()} for one in shares.T]
    return {"network": name, "component": chosen, "likely": likely, "layers": network.about_layers()}, figure


def diversity(inputs: Mapping[str, Path], settings: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """Figures 4 and 7, with their numbers: samples with S = 1, repeated ones in red; a row for each divisor."""
    divisors = _divisors(settings)
    figure, panels = still.panels(len(divisors), len(inputs), 3.2 * len(inputs), 3.4 * len(divisors))
    numbers = []
    for place, (name, path) in enumerate(inputs.items()):
        network = _network(path)
        for row, divisor in zip(panels, divisors, strict=True):
            images, again = _with_repeats(network, divisor, settings.samples, 1)
            title = f"{name.partition('_')[2]}, divisor {divisor:g}: {again.mean():.0%} repeated"
            _images(row[place], images, network.largest, title, np.flatnonzero(again))
            numbers.append({"network": name, "divisor": divisor, "repeats": float(again.mean())})
    return {"samples": numbers, "near": NEAR}, figure


def choices(inputs: Mapping[str, Path], settings: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """Figure 6, with its numbers: samples with several S, a row for each data set."""
    figure, panels = still.panels(len(inputs), len(TOPS), 3.6 * len(TOPS), 3.8 * len(inputs))
    numbers = []
    for row, (name, path) in zip(panels, inputs.items(), strict=True):
        network = _network(path)
        for axes, top in zip(row, TOPS, strict=True):
            images, again = _with_repeats(network, settings.divisor, settings.samples, top)
            _images(axes, images, network.largest, f"{name.partition('_')[0]}, S = {top}", np.flatnonzero(again))
            own = {"network": name, "top": top, "repeats": float(again.mean())}
            numbers.append({**own, "log_likelihoods": _likelihoods(network, images)})
    return {"samples": numbers, "divisor": settings.divisor, "near": NEAR}, figure


def sharpening(inputs: Mapping[str, Path], settings: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """Figures 5 and 8, with their numbers: samples with S = 1 before and after sharpening; a row for each divisor."""
    ((name, path),) = inputs.items()
    network, divisors = _network(path), _divisors(settings)
    figure, panels = still.panels(len(divisors), 3, 11, 3.8 * len(divisors))
    numbers = []
    with Progress() as bar:
        task = bar.add_task("sharpen", total=len(divisors))
        for row, divisor in zip(panels, divisors, strict=True):
            before, after = (_drawn(network, divisor, settings.samples, sharpen=n) for n in (0, settings.steps))
            _images(row[0], before, network.largest, f"divisor {divisor:g}: before")
            _images(row[1], after, network.largest, f"after {settings.steps} steps")
            change = after - before
            still.signed(row[2], tiled(change, 0.0), (0.0, 1.0, 0.0, 1.0), network.largest)
            row[2].set_title("difference", fontsize=10)
            likelihoods = {"before": _likelihoods(network, before), "after": _likelihoods(network, after)}
            size = float(np.sqrt(np.square(change).mean())) / network.largest
            numbers.append({"divisor": divisor, "log_likelihoods": likelihoods, "change": size})
            bar.advance(task)
    return {"network": name, "samples": numbers}, figure


def _network(path: Path) -> DCGMM:
    network = load(path)
    if not isinstance(network, DCGMM) or len(network.shape) != 2:
        raise InputError(f"{path} is no deep convolutional mixture of grey images, which this figure shows")
    return network


def _divisors(settings: ComparisonSettings) -> list[float]:
    """The paper's text has none."""
    return list(dict.fromkeys((1.0, settings.divisor)))


def _drawn(network: DCGMM, divisor: float, count: int, **how: Any) -> np.ndarray:  # [n, H, W]
    """Samples from the seed, which are the same but for the options."""
    generator = torch.Generator().manual_seed(SEED)
    return network.sample(count, generator, divisor=divisor, **how).numpy()


def _with_repeats(network: DCGMM, divisor: float, count: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples, and which of them [n] are repeated.

    These have another sample within :data:`NEAR` of the median distance of two samples, both without the noise of
    their pixels: with the components that were drawn in all mixtures, but a first mixture without deviations.
    """
    still_network = copy.deepcopy(network)
    lowest = still_network.stack.mixtures[0]
    with torch.no_grad():
        lowest.roots.fill_(math.inf)
        if lowest.factors is not None:
            lowest.factors.zero_()
    images, plain = (_drawn(one, divisor, count, top=top) for one in (network, still_network))
    apart = torch.from_numpy(plain).flatten(1).double()
    distances = torch.pdist(apart)
    near = torch.cdist(apart, apart).fill_diagonal_(math.inf).amin(1) <= NEAR * distances.median()
    return images, near.numpy()


def _likelihoods(network: DCGMM, images: np.ndarray) -> dict[str, float]:  # [n, H, W]
    """The mean log-likelihood of each mixture, in nats per position."""
    found = network.layers(torch.from_numpy(images))
    return {layer["name"]: layer["log_likelihood"].mean().item() for layer in found}


def _squares(shares: Tensor) -> Tensor:  # [..., K] -> [..., rows, columns]
    """The components as they lie on the torus, or in a line where they make no square."""
    side = math.isqrt(shares.shape[-1])
    return shares.unflatten(-1, (side, side) if side**2 == shares.shape[-1] else (1, -1))


def _images(axes: Any, images: np.ndarray, brightest: float, title: str, marked: Sequence[int] = ()) -> None:
    """Images [n, H, W] in a grid, those of these places in a red frame."""
    from matplotlib.patches import Rectangle

    whole = tiled(images, brightest)
    height, width = images.shape[1] + 1, images.shape[2] + 1
    axes.imshow(whole, cmap="gray", vmin=0, vmax=brightest, interpolation="nearest")
    for place in marked:
        row, column = divmod(int(place), whole.shape[1] // width)
        corner = (column * width - 1, row * height - 1)
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=MARK, linewidth=1.5, clip_on=False))
    axes.set_title(title, fontsize=10)
    still.bare(axes)
