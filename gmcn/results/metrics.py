"""What a table can say about a result: each metric by its name, read from the result's JSON."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmcn.errors import InputError

# Mean and standard deviation over seeds; None where a result does not have them.
Value = tuple[float | None, float | None]
NOTHING: Value = (None, None)


@dataclass(frozen=True)
class Metric:
    """How a metric is called, written and found."""

    title: str
    digits: int
    read: Callable[[Mapping[str, Any]], Value]  # from a result's JSON
    note: str | None = None


def metric(name: str) -> Metric:
    """The metric of a table's column: see ``metric`` in the configuration's schema for the names."""
    if name in METRICS:
        return METRICS[name]
    if match := re.fullmatch(r"validation(\d+)", name):
        epoch = int(match[1])
        return Metric(f"accuracy after {epoch} epochs (%)", 2, lambda result: _validation(result, epoch), VALIDATION)
    if match := re.fullmatch(r"rmse(\d)-(all|relu|reduction)", name):
        layer, kind = int(match[1]), match[2]
        return Metric(f"RMSE {kind}, layer {layer}", 4, lambda result: _rmse(result, layer, kind), RMSE)
    raise InputError(f"there is no metric '{name}'")


def over(values: Sequence[float | None]) -> Value:
    """Mean and standard deviation (None for one value); nothing where a value is missing."""
    if not values or any(value is None for value in values):
        return NOTHING
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def at(value: Any, *path: str | int) -> Any:
    """What lies at a path of keys and places in JSON, or None where it ends before."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def scaled(value: Value, factor: float) -> Value:
    """Mean and deviation in another unit."""
    return tuple(None if number is None else factor * number for number in value)


def device_of(result: Mapping[str, Any]) -> str | None:
    """The name of what a result was trained on."""
    for seed, training in (at(result, "training") or {}).items():
        on_gpu = str(training.get("device")).startswith("cuda")
        return at(result, "provenance", "train", seed, "gpu" if on_gpu else "cpu") or training.get("device")
    return None


def _pair(result: Mapping[str, Any], *path: str) -> Value:
    return at(result, *path, "mean"), at(result, *path, "std")


def _validation(result: Mapping[str, Any], epoch: int) -> Value:
    histories = at(result, "history") or {}
    return scaled(over([at(history, "validation_accuracy", epoch - 1) for history in histories.values()]), 100)


def _rmse(result: Mapping[str, Any], layer: int, kind: str) -> Value:
    return tuple(at(result, "rmse", part, layer - 1, kind, "standardised") for part in ("layers", "std"))


def _kernels(result: Mapping[str, Any]) -> Value:
    layers, classes = at(result, "settings", "network", "layers"), at(result, "per_class", "mean")
    if layers is None or classes is None:
        return NOTHING
    channels = [1, *(layer[0] for layer in layers), len(classes)]
    return sum(before * after for before, after in itertools.pairwise(channels)), None


def _gib(result: Mapping[str, Any]) -> Value:
    trainings = at(result, "training") or {}
    if any(at(training, "peak_memory", "kind") == "resident" for training in trainings.values()):
        taken = at(result, "footprint", "measured", "bytes")
        return (None if taken is None else taken * 2**-30), None
    return scaled(over([at(training, "peak_memory", "bytes") for training in trainings.values()]), 2**-30)


VALIDATION = (
    "Ours after fewer epochs than all is accuracy on the validation split, since nothing looks at the test set during "
    "a training; the paper's is on the test set. Its accuracies are read off smoothed curves."
)
MEMORY = "Peak memory is that of tensors: of the whole training on a GPU, of one measured step of it on a CPU."
RMSE = "RMSE is standardised as by the authors' code: by the truth's deviation over all shapes, channels and points."
METRICS = {
    "accuracy": Metric("test accuracy (%)", 2, lambda result: scaled(_pair(result, "accuracy"), 100)),
    "kernels": Metric("kernels", 0, _kernels),
    "parameters": Metric("parameters", 0, lambda result: (at(result, "parameters"), None)),
    "gib": Metric("peak memory (GiB)", 2, _gib, MEMORY),
    "minutes": Metric("training (min)", 1, lambda result: scaled(_pair(result, "seconds", "training"), 1 / 60)),
    # Not of a trained network: tables.py reads them elsewhere.
    "kernel-gaussians": Metric("K", 0, lambda _: NOTHING),
    "data-gaussians": Metric("D", 0, lambda _: NOTHING),
    "gaussians": Metric("G", 0, lambda _: NOTHING),
    "mib2d": Metric("2D (MiB)", 2, lambda _: NOTHING),
    "mib3d": Metric("3D (MiB)", 2, lambda _: NOTHING),
    "seconds": Metric("time (s)", 4, lambda _: NOTHING),
    "rmse": Metric("RMSE", 4, lambda _: NOTHING),
    "standardised-rmse": Metric("standardised RMSE", 4, lambda _: NOTHING),
}
