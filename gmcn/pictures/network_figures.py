"""Figures of a trained 2D network: its activations, its kernels, and how TreeHEM reduces a mixture of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gmcn import ops
from gmcn.mixture import Mixture
from gmcn.models import GMCN
from gmcn.nn import GaussianConvolution
from gmcn.ops.reference.reduce_treehem import build_tree
from gmcn.ops.reference.tree import Tree
from gmcn.pictures import still
from gmcn.pictures.drawing import Box, field

STAGES = ("input", "convolution", "ReLU of it (target)", "initialization", "dense fit", "reduction")


@torch.no_grad()
def activations(network: GMCN, inputs: Mixture) -> Any:  # inputs [S, N], D = 2
    """Figure 2: the liveliest channel of every layer on its way, a row per object and layer."""
    blocks = len(network.blocks)
    objects = len(inputs.weights)
    figure, grid = still.panels(objects * blocks, len(STAGES), 2.0 * len(STAGES), 2.05 * objects * blocks + 0.4)
    mixture = network.normalize_input(inputs)
    for layer, block in enumerate(network.blocks):
        stages = block.stages(mixture)
        for index in range(objects):
            row = grid[index * blocks + layer]
            channel = int(stages[0].weights[index].std(-1).argmax())
            _stages(row, mixture.map(lambda t, i=index: t[i]), *(_only(stage, index, channel) for stage in stages))
            row[0].set_ylabel(f"layer {layer + 1}", fontsize=9)
        mixture = block.onward(mixture, stages[2])
    for axes, title in zip(grid[0], STAGES, strict=True):
        axes.set_title(title, fontsize=10)
    return figure


def _only(mixture: Mixture, index: int, channel: int) -> Mixture:
    return mixture.map(lambda tensor: tensor[index, channel])


def _stages(row: Sequence[Any], given: Mixture, convolved: Mixture, fitted: Mixture, reduced: Mixture) -> None:
    """``given`` [F, N], of which the heaviest channel is shown; the others [N']."""
    box = box_around(convolved)
    values = field(convolved, box, 160)
    limit = float(np.abs(values).max())
    start = convolved._replace(weights=convolved.weights.clamp(min=0))  # equation (6)
    still.values(row[0], given.map(lambda t: t[int(given.weights.sum(-1).argmax())]), box)
    still.values(row[1], convolved, box, limit)
    still.signed(row[2], values.clip(min=0), box, limit)
    for axes, mixture in zip(row[3:], (start, fitted, reduced), strict=True):
        still.signed(axes, field(mixture, box, 160), box, limit)
    row[4].set_xlabel(f"{fitted.components} Gaussians", fontsize=8)
    row[5].set_xlabel(f"{reduced.components} Gaussians", fontsize=8)


def kernels(network: GMCN, shown: int = 8) -> Any:
    """Figure 9: some kernels of every layer but the last, when training began and now."""
    start = GMCN(**network.config)  # from the same seed
    layers = max(1, len(network.blocks) - 1)
    figure, grid = still.panels(2 * layers, shown, 1.45 * shown, 1.6 * 2 * layers)
    for axes in grid.flat:
        still.bare(axes)
    for layer in range(layers):
        pair = (start.blocks[layer].convolution, network.blocks[layer].convolution)
        for row, (convolution, when) in enumerate(zip(pair, ("at first", "trained"), strict=True)):
            line = grid[2 * layer + row]
            _kernels(line, convolution)
            line[0].set_ylabel(f"layer {layer + 1}\n{when}", fontsize=9)
    return figure


@torch.no_grad()
def _kernels(line: Sequence[Any], convolution: GaussianConvolution) -> None:
    """A kernel per panel, spread over output and input channels."""
    kernel = convolution.kernels().map(lambda tensor: tensor.flatten(0, 1))  # [G F, K]
    reach = 2 * convolution.radius
    box = (-reach, reach, -reach, reach)
    chosen = np.linspace(0, len(kernel.weights) - 1, min(len(line), len(kernel.weights))).round().astype(int)
    for axes, index in zip(line, chosen, strict=False):
        one = kernel.map(lambda tensor, i=int(index): tensor[i])
        still.signed(axes, field(one, box, 120), box)


@torch.no_grad()
def treehem(network: GMCN, inputs: Mixture) -> Any:  # inputs [S, N], D = 2
    """How TreeHEM works: a dense fit, the Morton order of its centres, groups of two levels of the tree, selections."""
    _, fitted, reduced = network.blocks[0].stages(network.normalize_input(inputs))
    channel = int((fitted.weights[0] > 0).sum(-1).argmax())
    target = reduced.components
    mixture = _only(fitted, 0, channel)
    box = box_around(mixture)
    figure, (panels,) = still.panels(1, 6, 15, 2.9)
    still.outlines(panels[0], mixture, box)
    panels[0].set_title(f"{int((mixture.weights > 0).sum())} Gaussians", fontsize=10)
    order, groups = _tree(mixture, levels=(3, 5))
    centres = mixture.positions.numpy()
    panels[1].plot(*centres[order].T, lw=0.7, color="0.45")
    panels[1].scatter(*centres[order].T, c=np.arange(len(order)), cmap="viridis", s=9, zorder=2)
    panels[1].set_title("Morton order", fontsize=10)
    for axes, (level, group) in zip(panels[2:4], groups.items(), strict=True):
        axes.scatter(*centres.T, c=group * 7 % 20, cmap="tab20", s=14)
        axes.set_title(f"tree, level {level}: {len(set(group.tolist()))} nodes", fontsize=10)
    for axes, n in zip(panels[4:], (4 * target, target), strict=True):
        still.outlines(axes, ops.reduce_treehem(mixture, n), box)
        axes.set_title(f"{n} selected", fontsize=10)
    for axes in panels:
        still.frame(axes, box)
    return figure


def _tree(mixture: Mixture, levels: Sequence[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Components in the order of the leaves; for every level, the number of the node [N] that each lies below."""
    tree = build_tree(mixture.positions)
    groups = {}
    for level in levels:
        nodes = [0]  # the root
        for _ in range(level):
            opened = [[node] if tree.is_leaf(node) else [tree.left[node], tree.right[node]] for node in nodes]
            if (below := [child for children in opened for child in children]) == nodes:
                break
            nodes = below
        group = np.zeros(mixture.components, dtype=int)
        for number, node in enumerate(nodes):
            group[_components_below(tree, node)] = number
        groups[level] = group
    return np.array(tree.order), groups


def _components_below(tree: Tree, node: int) -> list[int]:
    if tree.is_leaf(node):
        return [tree.component(node)]
    return _components_below(tree, tree.left[node]) + _components_below(tree, tree.right[node])


def box_around(mixture: Mixture) -> Box:  # [N], D = 2
    """The centres of a mixture with a margin of two typical deviations, square."""
    low, high = mixture.positions.amin(0), mixture.positions.amax(0)
    margin = 2 * mixture.covariances.diagonal(dim1=-2, dim2=-1).mean().sqrt()
    centre, half = (low + high) / 2, (high - low).max() / 2 + margin
    (left, top), (right, bottom) = (centre - half).tolist(), (centre + half).tolist()
    return left, right, top, bottom
