"""How far found poses are from true ones: the numbers of docs/registration.md. Needs NumPy and torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmcn.data.objects import ObjectSet
from gmcn.registration.levels import levels_of
from gmcn.registration.pairs import SETTINGS, Pairs, Setting, draw_pairs
from gmcn.registration.rotations import angles_between
from gmcn.registration.search import search

FIRST = "up-360"  # the setting of the first metrics
# Others about the axis that points up, by the name of the metric that is their share under 10 degrees.
OTHERS = {"wholes": "up-360-full", "small_parts": "up-360-few", "within_30": "up-30", "noise": "up-360-noise"}
DRAWS, FEWER = 10, 3  # pairs of each object, in the first setting and in others
UNDER = 10.0  # degrees of a pose that is right
SAMPLES = 2000  # of the bootstrap

# Source and target [M, 3] -> poses [Q, 4, 4], best first, and the weight of the first, which only ours have.
Found = tuple[np.ndarray, float | None]
Method = Callable[[Tensor, Tensor], Found]


def without_training(setting: Setting) -> Method:
    """Mixtures of both clouds, searched, as a setting allows."""

    def mixtures(source: Tensor, target: Tensor) -> Found:
        levels = levels_of(source, "source"), levels_of(target, "target")
        found = search(*levels, axis=setting.axis, within=setting.bound)
        return found.matrices.numpy(), found.confidence

    return mixtures


def measured(
    pairs: Pairs,
    method: Method,
    progress: Callable[[int], object] = lambda done: None,
    limit: float = math.inf,
) -> dict[str, np.ndarray]:  # [P] each
    """Of each pair: degrees and length by which the first pose errs, degrees of the nearest, milliseconds, weight.

    The length is by how much the source's middle misses its place. Milliseconds are those of the processor, on all
    threads. Pairs are left out once ``limit`` seconds are over.
    """
    rows, begin = [], time.perf_counter()
    for place in range(len(pairs.objects)):
        source, target = pairs.sources[place], pairs.targets[place]
        start = time.process_time()
        found, weight = method(source, target)
        seconds = time.process_time() - start
        poses = torch.from_numpy(np.array(found))
        angles = angles_between(poses[:, :3, :3], pairs.rotations[place][None])[:, 0]
        middle = source.mean(0).double()
        wanted = pairs.rotations[place] @ middle + pairs.translations[place]
        length = (poses[0, :3, :3] @ middle + poses[0, :3, 3] - wanted).norm()
        rows.append((angles[0].item(), angles.min().item(), length.item(), 1e3 * seconds, weight))
        progress(1)
        if time.perf_counter() - begin > limit:
            break
    return dict(zip(("degrees", "nearest", "length", "ms", "weight"), np.array(rows, dtype=float).T, strict=True))


def numbers(pairs: Pairs, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Shares, medians and means over the pairs that were measured; the interval is that of ``under_10``."""
    degrees, count = found["degrees"], len(found["degrees"])
    weight = float(found["weight"].mean())
    return {
        "under_10": float((degrees < UNDER).mean()),
        "interval": list(interval(degrees < UNDER, pairs.objects[:count].numpy())),
        "any_mode": float((found["nearest"] < UNDER).mean()),
        "under_5": float((degrees < 5).mean()),
        "median": float(np.median(degrees)),
        "mean": float(degrees.mean()),
        "length": float(np.median(found["length"])),
        "weight": None if math.isnan(weight) else weight,
        "milliseconds": float(found["ms"].mean()),
        "pairs": count,
    }


def interval(hits: np.ndarray, objects: np.ndarray) -> tuple[float, float]:  # [P], [P]
    """Of a share, 95 % by bootstrap over objects."""
    means = np.array([hits[objects == each].mean() for each in np.unique(objects)])
    chosen = np.random.default_rng(0).integers(len(means), size=(SAMPLES, len(means)))
    low, high = np.percentile(means[chosen].mean(1), [2.5, 97.5])
    return float(low), float(high)


def over_settings(
    data: ObjectSet,
    way: Callable[[Setting], Method],
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """The metrics of a way to register; all numbers of each setting; and the degrees of every pair of the first.

    ``progress`` is told how many objects are done.
    """
    each = {name: pairs_of(data, name) for name in (FIRST, *OTHERS.values())}
    total, done = sum(len(pairs.objects) for pairs in each.values()), 0

    def advance(pairs: int) -> None:
        nonlocal done
        before, done = done, done + pairs
        progress(done * len(data) // total - before * len(data) // total)

    found = {name: (pairs, measured(pairs, way(SETTINGS[name]), advance)) for name, pairs in each.items()}
    settings = {name: numbers(*both) for name, both in found.items()}
    own = ("under_10", "median", "any_mode", "weight", "length", "milliseconds", "mean")
    return {
        **{name: settings[FIRST][name] for name in own},
        **{name: settings[setting]["under_10"] for name, setting in OTHERS.items()},
        "settings": settings,
        "degrees": found[FIRST][1]["degrees"].tolist(),
    }


def pairs_of(data: ObjectSet, setting: str) -> Pairs:
    """The pairs of a setting, always the same."""
    points = torch.as_tensor(data.inputs).float()
    return draw_pairs(points, SETTINGS[setting], DRAWS if setting == FIRST else FEWER)
