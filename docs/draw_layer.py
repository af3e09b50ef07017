"""Draws docs/images/layer.png: a digit on its way through the first layer of a trained network (the paper's figure 2).

    python docs/draw_layer.py results/digits_treehem2.json results/mixtures/digits_kmeans16.safetensors \\
        results/points/digits.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

import gmcn
from gmcn import Mixture, ops
from gmcn.artifacts import load_tensors

SHAPES = (3, 8)  # rows of the picture: two digits of the test split
OUTPUT = Path(__file__).parent / "images" / "layer.png"


def field(mixture: Mixture, box: tuple[float, ...], size: int = 96) -> torch.Tensor:  # mixture [N] -> [size, size]
    x, y = torch.linspace(*box[:2], size), torch.linspace(*box[2:], size)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
    return ops.evaluate(mixture, points).reshape(size, size)


def ellipses(axes, mixture: Mixture) -> None:  # [N]: one standard deviation each
    for weight, position, covariance in zip(*mixture, strict=True):
        values, vectors = torch.linalg.eigh(covariance)
        if weight != 0:
            width, height = (2 * values.sqrt()).tolist()
            angle = torch.rad2deg(torch.atan2(vectors[1, 0], vectors[0, 0])).item()
            axes.add_patch(Ellipse(position.tolist(), width, height, angle=angle, fill=False, lw=0.5, ec="0.25"))


def main(result: str, mixtures: str, points: str) -> None:
    network = gmcn.load(result)
    tensors, images = load_tensors(mixtures)[0], load_tensors(points)[0]["images"]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    titles = ("image", "input: 16 Gaussians", "convolution", "ReLU of it (target)", "dense fit", "reduction")
    grid = figure.subplots(len(SHAPES), len(titles), squeeze=False)
    tests = (tensors["split"] == 1).nonzero().squeeze(1)
    for row, index in zip(grid, tests[list(SHAPES)], strict=True):
        mixture = network.normalize_input(Mixture(*(tensors[name][index][None] for name in Mixture._fields)))
        with torch.no_grad():
            stages = network.blocks[0].stages(mixture)
        channel = int(stages[0].weights[0].std(-1).argmax())  # the liveliest
        convolved, fitted, reduced = (Mixture(*(tensor[0, channel] for tensor in stage)) for stage in stages)
        mixture = mixture.map(lambda t: t[0, 0])
        low, high = mixture.positions.amin(0) - 3.5, mixture.positions.amax(0) + 3.5
        box = (low[0].item(), high[0].item(), low[1].item(), high[1].item())
        values = field(convolved, box)
        limit = values.abs().max().item()
        row[0].imshow(images[index], cmap="gray_r")
        pictures = (None, mixture, values, values.clamp(min=0), fitted, reduced)
        for axes, picture in zip(row[1:], pictures[1:], strict=True):
            shown = field(picture, box) if isinstance(picture, Mixture) else picture
            own = shown.abs().max().item() if picture is mixture else limit
            axes.imshow(shown, extent=(*box[:2], *box[3:1:-1]), cmap="RdBu_r", vmin=-own, vmax=own)
            if picture is mixture or picture is reduced:
                ellipses(axes, picture)
        row[5].set_xlabel(f"{reduced.components} Gaussians")
        row[4].set_xlabel(f"{fitted.components} Gaussians")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    OUTPUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
