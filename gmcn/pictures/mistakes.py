"""The test objects that a classifier gets wrong, whatever its seed, with what it says instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmcn.data.objects import IMAGES, POINTS, ObjectSet
from gmcn.mixture import Mixture
from gmcn.pictures import still
from gmcn.pictures.rendering import view_of
from gmcn.pictures.shapes import Shape

SHOWN, COLUMNS = 24, 6
WIDEST = 30  # characters above a panel


def worst(predictions: np.ndarray, confidences: np.ndarray, labels: np.ndarray) -> np.ndarray:  # [seeds, S] twice, [S]
    """The objects that are wrong in any seed: first those that most seeds get wrong, and of these the surest."""
    wrong = predictions != labels
    sure = np.where(wrong, confidences, 0.0).sum(0) / np.maximum(wrong.sum(0), 1)
    order = np.lexsort((-sure, -wrong.sum(0)))
    return order[wrong.any(0)[order]]


def draw_mistakes(seeds: Sequence[Mapping[str, Any]], data: ObjectSet, path: Path) -> Path:
    """The first of :func:`worst`, each with its class, what is said, and how surely, in the mean over such seeds.

    ``seeds`` are what :func:`gmcn.tasks.classification.measures_of_answers.measure` says of each.
    """
    predictions, confidences = (np.array([seed[name] for seed in seeds]) for name in ("predictions", "confidences"))
    assert data.labels is not None
    labels = data.labels.numpy()
    found = worst(predictions, confidences, labels)
    shown = found[:SHOWN]
    rows = max(1, -(-len(shown) // COLUMNS))
    figure, grid = still.panels(rows, COLUMNS, 1.7 * COLUMNS, 2.1 * rows + 0.5)
    always = int((predictions != labels).all(0).sum())
    everywhere = f" in all {len(seeds)} seeds" if len(seeds) > 1 else ""
    figure.suptitle(f"{always} of {len(data)} objects are wrong{everywhere}", fontsize=10)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, place in zip(grid.flat, shown.tolist(), strict=False):
        wrong = predictions[:, place] != labels[place]
        said, counts = np.unique(predictions[wrong, place], return_counts=True)
        often = said[counts.argmax()]
        sure = confidences[wrong, place][predictions[wrong, place] == often].mean()
        _draw(axes, data, place)
        lines = [data.names[place], data.class_names[labels[place]], f"said {data.class_names[often]}, {sure:.2f}"]
        if len(seeds) > 1:
            lines.append(f"in {wrong.sum()} of {len(seeds)} seeds")
        lines = [line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…" for line in lines]
        axes.set_title("\n".join(lines), fontsize=6, parse_math=False)
    still.save(figure, path)
    return path


def _draw(axes: Any, data: ObjectSet, place: int) -> None:
    """One object: ellipsoids, values, pixels, points, or nothing where it is a vector."""
    inputs = data.inputs
    if isinstance(inputs, Mixture):
        own = inputs.map(lambda tensor: tensor[place].double())
        shape = Shape("", mixture=own)
        if own.dim == 2:
            still.values(axes, own, still.box_of(shape))
        else:
            still.solid(axes, view_of(*shape.extent(), pixels=240), own)
    elif data.kind == IMAGES:
        still.pixels(axes, inputs[place].numpy())
    elif data.kind == POINTS:
        shape = Shape("", points=inputs[place].double().numpy())
        if inputs.shape[-1] == 2:
            still.sampled(axes, shape, still.box_of(shape))
        else:
            still.solid(axes, view_of(*shape.extent(), pixels=240), shape)
