"""Memory of a training step on mixtures and on grids of voxels.

The task: one step (forward, backward, Adam) that classifies 3D shapes into ten classes, float32. Ours is the paper's
five-layer network on 128 Gaussians, exact and fitted at 4 nodes per Gaussian. A plain network of 3 x 3 x 3 convolutions
has its channels (8, 16, 32, 64), and halves its grid where ours halves its Gaussians. VoxNet is that of Maturana and
Scherer (2015) on its grid of 32 voxels, without its dropout. Peak: of tensors that torch holds, input, network and
Adam's moments included; input: bytes of one shape, 6 + 3 + 1 numbers for a Gaussian and one for a voxel.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch
from common import arguments, progress, random_mixture, report, save
from measuring import remarked, seconds_of
from torch import Tensor, nn
from torch.nn import functional
from train_step import COMPONENTS, NETWORK, SMALL, tensor_peak

from gmcn.models import build
from gmcn.results.measured_memory import training_step

CLASSES = 10
CHANNELS = (8, 16, 32, 64)


def plain(channels: tuple[int, ...] = CHANNELS) -> nn.Module:
    """[B, 1, R, R, R] -> [B, classes]: the paper's layers as convolutions of a grid, and a mean at the end."""
    layers: list[nn.Module] = []
    given = 1
    for width in channels:
        layers += [nn.Conv3d(given, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(inplace=True), nn.MaxPool3d(2)]
        given = width
    last = nn.Conv3d(given, CLASSES, 3, padding=1)
    return nn.Sequential(*layers, last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool3d(1), nn.Flatten())


def voxnet() -> nn.Module:
    """[B, 1, 32, 32, 32] -> [B, classes]."""
    return nn.Sequential(
        *(nn.Conv3d(1, 32, 5, stride=2), nn.LeakyReLU(0.1, inplace=True)),
        *(nn.Conv3d(32, 32, 3), nn.LeakyReLU(0.1, inplace=True), nn.MaxPool3d(2)),
        *(nn.Flatten(), nn.Linear(32 * 6**3, 128), nn.ReLU(inplace=True), nn.Linear(128, CLASSES)),
    )


def step_on_voxels(network: nn.Module, resolution: int, batch: int, labels: Tensor) -> Callable[[], None]:
    """One step on occupied voxels at random, as training does it; Adam has its moments already."""
    grid = (torch.rand(batch, 1, resolution, resolution, resolution, device=labels.device) < 0.05).float()
    network = network.to(labels.device)
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()

    def step() -> None:
        functional.cross_entropy(network(grid), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def ways(options: Namespace) -> Iterator[tuple[str, float, int, Callable[[int, Tensor], Callable[[], None]]]]:
    """Name, KiB of a shape, parameters, and what makes a step of so many shapes."""
    for name, fit_at in (("gmcn, exact", None), ("gmcn, 4 nodes per Gaussian", 4)):
        network: dict[str, Any] = (SMALL if options.smoke else NETWORK) | {"fit_at": fit_at}
        count = build(network).parameter_counts()["parameters"]

        def on_mixtures(batch: int, labels: Tensor, network: dict[str, Any] = network) -> Callable[[], None]:
            mixture = random_mixture(batch, COMPONENTS, device=options.device, positive=True)
            return training_step(network, mixture, labels)

        yield name, COMPONENTS * 10 * 4 / 1024, count, on_mixtures
    grids = [(f"convolutions, {side} voxels a side", plain, side) for side in options.resolution]
    for name, network_of, resolution in [*grids, ("VoxNet, 32 voxels a side", voxnet, 32)]:
        count = sum(parameter.numel() for parameter in network_of().parameters())

        def on_voxels(batch: int, labels: Tensor, make: Any = network_of, side: int = resolution) -> Callable[[], None]:
            return step_on_voxels(make(), side, batch, labels)

        yield name, resolution**3 * 4 / 1024, count, on_voxels


def main() -> None:
    batch = ("--batch", {"type": int, "default": 21, "help": "shapes per step (default: 21)"})
    words = "voxels along an edge of the grids (default: 32 64 128)"
    resolution = ("--resolution", {"type": int, "nargs": "+", "default": [32, 64, 128], "help": words})
    options = arguments(__doc__, batch, resolution)
    if options.smoke:
        options.batch, options.resolution = 2, [16]
    labels = (torch.arange(options.batch) % CLASSES).to(options.device)
    rows: list[dict[str, Any]] = []
    for way, kib, parameters, make in ways(options):
        progress(f"{way}, batch {options.batch}")
        row: dict[str, Any] = {"way": way, "batch": options.batch, "parameters": parameters, "input, KiB": kib}
        row |= dict.fromkeys(("peak, MiB", "peak per shape, MiB", "seconds"))
        with remarked(row, options):
            peak = tensor_peak(lambda make=make: make(options.batch, labels)(), options) / 2**20
            row |= {"peak, MiB": peak, "peak per shape, MiB": peak / options.batch}
            row |= {"seconds": seconds_of(make(options.batch, labels), options)}
        rows.append(row)
        save("voxels", __doc__, rows, options)
    report("voxels", __doc__, rows, options)


if __name__ == "__main__":
    main()
