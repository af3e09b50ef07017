"""Charts of a result: learning curves, the confusion matrix, ROC curves, and images in a grid."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmcn.artifacts import atomic, damaged

if TYPE_CHECKING:
    import numpy as np

WIDTH = 720  # pixels of a grid of images, or fewer, or one for each of its own


def draw_confusion(
    matrices: Sequence[Sequence[Sequence[int]]],
    class_names: Sequence[str],
    path: Path,
    answers: tuple[Sequence[float], Sequence[bool]],
) -> None:
    """Confusion matrices of all seeds, added up, as shares of the true class: rows true, columns predicted.

    Beside them the accuracy over the probability of ``answers``, which are such probabilities, and what is right.
    """
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.sum(np.array(matrices), axis=0)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.5 + 0.45 * len(class_names)
    wide = max(3.6, 0.4 * size)
    figure = Figure(figsize=(size + wide, size), layout="constrained")
    matrix, beside = figure.subfigures(1, 2, width_ratios=[size, wide])
    axes = matrix.subplots()
    _draw_calibration(beside.subplots(), *map(np.array, answers))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(class_names)), class_names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(class_names)), class_names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    seeds = f", {len(matrices)} seeds" if len(matrices) > 1 else ""
    axes.set_title(f"accuracy {np.trace(counts) / counts.sum():.4f}{seeds}")
    _save(figure, path)


def _draw_calibration(axes: Any, sure: np.ndarray, right: np.ndarray) -> None:  # [R] twice
    """Accuracy by tenths of the probability, and how many answers lie in each."""
    import numpy as np

    edges = np.linspace(0, 1, 11)
    bins = np.clip(np.digitize(sure, edges) - 1, 0, 9)
    counts = np.bincount(bins, minlength=10)
    places = np.nonzero(counts)[0]
    axes.plot([0, 1], [0, 1], "--", color="0.6", lw=1)
    axes.bar(edges[:-1], counts / len(sure), 0.1, align="edge", color="C0", alpha=0.25, label="share of answers")
    means = [[values[bins == place].mean() for place in places] for values in (sure, right)]
    axes.plot(*means, "o-", color="C0", label="accuracy")
    axes.set_xlabel("probability of the answer")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)
    axes.legend(fontsize=8)


def draw_curves(histories: Mapping[str, Path], path: Path) -> None:
    """Draw training and validation over the epochs, a panel per number, from the ``history.csv`` of every seed."""
    from matplotlib.figure import Figure

    read = {seed: read_history(history) for seed, history in histories.items()}
    columns = next(iter(read.values()))[0]
    quantities = [name.removeprefix("train_") for name in columns if name.startswith("train_")]
    figure = Figure(figsize=(5 * len(quantities), 4), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        for index, (seed, rows) in enumerate(read.items()):
            for split, style in (("train", "--"), ("validation", "-")):
                points = [(int(row["epoch"]), row[f"{split}_{quantity}"]) for row in rows]
                points = [(epoch, value) for epoch, value in points if value is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), style, color=f"C{index}", label=f"seed {seed}, {split}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if panels[0].dataLim.y0 >= 0:  # the loss
        panels[0].set_ylim(bottom=0)
    panels[-1].legend(fontsize=8)
    _save(figure, path)


def draw_roc(curves: Mapping[str | None, tuple[Any, Any]], path: Path) -> Path:
    """ROC curves by class, and of all (None): two arrays, shares of false alarms and of what is found."""
    from matplotlib.figure import Figure
    from sklearn.metrics import auc

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    lines, labels = [], []
    for name, (alarms, found) in curves.items():
        style = {"color": "black", "linewidth": 2, "zorder": 3} if name is None else {"linewidth": 1}
        lines += axes.plot(alarms, found, **style)
        labels.append(f"{'all' if name is None else name}: {auc(alarms, found):.3f}")
    axes.axline((0, 0), slope=1, color="grey", linewidth=0.5, linestyle=":")
    axes.set_xlabel("share of trained classes taken for outliers")
    axes.set_ylabel("share of outliers found")
    axes.set_aspect("equal")
    # Told one by one: matplotlib leaves out labels that begin with "_", and reads two "$" as TeX.
    legend = axes.legend(lines, labels, fontsize=8, title="area under the curve", loc="lower right")
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)
    return path


def draw_grid(images: np.ndarray, brightest: float, path: Path, columns: int | None = None) -> Path:  # [N, H, W]
    """Grey images row by row, in a grid that is about square or has so many columns, black at 0 and below.

    Each of their pixels is a square of whole pixels.
    """
    import numpy as np

    whole = tiled(images, brightest, columns)
    grey = np.clip(whole / (brightest or 1.0) * 255, 0, 255).round().astype(np.uint8)
    side = max(1, WIDTH // grey.shape[1])
    save_png(grey.repeat(side, 0).repeat(side, 1), path)
    return path


def save_png(picture: np.ndarray, path: Path) -> None:  # [H, W] or [H, W, 3]
    """Write integers, one for each pixel and colour, as a .png."""
    from PIL import Image

    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def draw_bins(shares: Mapping[str, Sequence[float]], pairs: np.ndarray | None, path: Path) -> Path:  # [2, N, H, W]
    """Shares of bins, the first as bars, the others as points; below, pairs of images with values in [0, 1]."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4 if pairs is None else 5.2), layout="constrained")
    panels = figure.subplots(1 if pairs is None else 2, 1, squeeze=False, height_ratios=[3, 1][: 2 - (pairs is None)])
    axes = panels[0, 0]
    (bars, heights), *others = shares.items()
    axes.bar(range(len(heights)), heights, width=1, color="0.8", label=bars)
    for (name, values), marker in zip(others, "ox", strict=False):
        axes.plot(range(len(values)), values, marker, markersize=4, label=name)
    axes.set_xlabel("bin, of k-means")
    axes.set_ylabel("share")
    axes.legend(fontsize=8)
    if pairs is not None:
        framed = np.pad(pairs, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1)
        rows = np.concatenate([np.concatenate(list(row), axis=1) for row in framed])
        panels[1, 0].imshow(rows, cmap="gray", vmin=0, vmax=1)
        panels[1, 0].set_axis_off()
        panels[1, 0].set_title("samples, and below each the nearest training object", fontsize=8)
    _save(figure, path)
    return path


def tiled(images: np.ndarray, edge: float, columns: int | None = None) -> np.ndarray:  # [N, H, W] -> [H', W']
    """Images row by row in one, by default about square; lines and empty places have the value ``edge``."""
    import numpy as np

    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    empty = np.full((rows * columns - len(images), *images.shape[1:]), edge)
    framed = np.pad(np.concatenate([images, empty]), ((0, 0), (0, 1), (0, 1)), constant_values=edge)
    return framed.reshape(rows, columns, *framed.shape[1:]).swapaxes(1, 2).reshape(rows * framed.shape[1], -1)


def read_history(history: Path) -> list[dict[str, float | None]]:
    """The rows of a ``history.csv``, one per epoch; None where a column is empty."""
    text = history.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not text.endswith("\n") or any(None in row.values() for row in rows):
        raise damaged(history, "it ends too early")
    return [{name: float(value) if value else None for name, value in row.items()} for row in rows]


def _save(figure: object, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
