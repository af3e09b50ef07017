"""Figure 3, how many outliers are rejected where so many inliers are kept, and what that costs in parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gmcn.artifacts import read_json
from gmcn.data.objects import places_of
from gmcn.errors import InputError
from gmcn.pictures import still
from gmcn.results.reading import at, read_result

if TYPE_CHECKING:
    from gmcn.papers.dcgmm.settings import ComparisonSettings

C = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of equation 4; the paper's range


def curves(inputs: Mapping[str, Path], _: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """The numbers and the figure: the curve of each first seed, thick for c in [-2, 2]; the AUC is the mean over seeds.

    An inlier has L >= E L - c std L (equation 4); mean and deviation are those of the test objects of trained classes,
    in place of the training objects'. Rivals have no such c.
    """
    datasets = _by_dataset(inputs)
    figure, (panels,) = still.panels(1, len(datasets), 5.2 * len(datasets), 5)
    numbers: dict[str, Any] = {}
    for axes, (dataset, paths) in zip(panels, datasets.items(), strict=True):
        found = {name: read_json(path) for name, path in paths.items()}
        outlier = _outliers(paths, found)
        for number, (name, one) in enumerate(found.items()):
            own = numbers.setdefault(dataset, {})[name] = _curve(paths[name], one, outlier)
            kept, rejected = own.pop("curve")
            label = f"{name.removeprefix('outliers-').removeprefix('dcgmm-')}: {own['auc']:.3f}"
            style = {"color": f"C{number}" if "points" in own else "black", "label": label}
            axes.plot(kept, rejected, lw=0.8, ls="-" if "points" in own else "--", **style)
            if "points" in own:
                lowest, highest = (own["points"][place]["kept"] for place in (0, -1))
                inside = (kept >= lowest) & (kept <= highest)
                axes.plot(kept[inside], rejected[inside], lw=1.8, color=style["color"])
        axes.set_title(dataset)
        axes.set_xlabel("inliers kept (%)")
        axes.set_ylabel("outliers rejected (%)")
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, title="area under the curve", loc="lower left")
    return {"curves": numbers, "c": "of mean and deviation of the test objects of trained classes"}, figure


def _outliers(paths: Mapping[str, Path], found: Mapping[str, Any]) -> np.ndarray:  # [S] bool
    """Which test objects are of classes that were not trained on, as the first evaluation says."""
    path, first = next(iter(paths.values())), next(iter(found.values()))
    classes = at(first, "seeds", next(iter(at(first, "seeds") or {}), ""), "classes")
    if classes is None or first.get("labels") is None:
        raise InputError(f"{path} has no outliers: train with training.classes, on objects with labels")
    trained = torch.tensor(places_of(classes, first["class_names"]))
    return ~torch.isin(torch.tensor(first["labels"]), trained).numpy()


def _curve(path: Path, found: Mapping[str, Any], outlier: np.ndarray) -> dict[str, Any]:
    """The ``curve``: % kept and % rejected; the AUC over seeds; and of a network the ``points`` for each c."""
    from sklearn.metrics import roc_curve

    network = "seeds" in found
    seeds = list(found.get("seeds", {}).values())
    scores = np.array((seeds[0] if seeds else found).get("scores", ()))
    area = at(found, "mean", "auc") if network else at(found, "metrics", "auc", "mean")
    if len(scores) != len(outlier) or area is None:
        raise InputError(f"{path} has no outliers of the objects that the others have; make it again")
    alarms, hits, _ = roc_curve(outlier, scores)
    own = {"auc": area, "curve": (100 * (1 - alarms), 100 * hits)}
    if not network:
        return own
    inliers = scores[~outlier]
    limits = {c: inliers.mean() + c * inliers.std() for c in C}
    points = [
        {"c": c, "kept": _percent(inliers <= limit), "rejected": _percent(scores[outlier] > limit)}
        for c, limit in limits.items()
    ]
    return {**own, "std": found["std"]["auc"], "seeds": len(seeds), "points": points}


def _percent(which: np.ndarray) -> float:
    return 100 * float(which.mean())


GROUPS = {"gmm": "flat, diagonal", "mfa": "flat, factor analysers", "dcgmm": "DCGMM"}


def sizes(inputs: Mapping[str, Path], _: ComparisonSettings) -> tuple[dict[str, Any], Any]:
    """The numbers and the figure: outliers found over the number of parameters, mean and deviation over seeds."""
    datasets = _by_dataset(inputs)
    figure, (panels,) = still.panels(1, len(datasets), 6 * len(datasets), 4.5)
    numbers: dict[str, Any] = {}
    for axes, (dataset, paths) in zip(panels, datasets.items(), strict=True):
        own = numbers[dataset] = {name: _size(path) for name, path in paths.items()}
        for number, (group, label) in enumerate(GROUPS.items()):
            some = {name: one for name, one in own.items() if name.split("-")[0] == group}
            places = np.array(sorted((one["parameters"], one["auc"], one["std"] or 0.0) for one in some.values()))
            style = "o-" if group == "gmm" else "o"
            axes.errorbar(*places.T[:2], yerr=places.T[2], fmt=style, ms=4, capsize=2, color=f"C{number}", label=label)
            for name, one in some.items():
                place = {"xytext": (4, 3), "textcoords": "offset points"}
                axes.annotate(name.partition("-")[2], (one["parameters"], one["auc"]), fontsize=7, **place)
        for name, one in own.items():
            if one["parameters"] is None:
                axes.axhline(one["auc"], color="black", ls="--", lw=1, label=name.removeprefix("outliers-"))
        axes.set_xscale("log")
        axes.set_title(dataset)
        axes.set_xlabel("parameters")
        axes.set_ylabel("outliers found, area under the ROC curve")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return {"results": numbers}, figure


def _size(path: Path) -> dict[str, Any]:
    result = read_result(path)
    if at(result, "metrics", "auc", "mean") is None:
        raise InputError(f"{path} has found no outliers: train with training.classes, on objects with labels")
    minutes = at(result, "seconds", "training", "mean")
    area = {"auc": result["metrics"]["auc"]["mean"], "std": result["metrics"]["auc"].get("std")}
    return {**area, "parameters": result.get("parameters"), "minutes": None if minutes is None else minutes / 60}


def _by_dataset(inputs: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Inputs by data set, and there by variant or rival."""
    found: dict[str, dict[str, Path]] = {}
    for name, path in inputs.items():
        dataset, _, what = name.partition("_")
        found.setdefault(dataset, {})[what] = path
    return found
