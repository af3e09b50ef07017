"""The columns that a table can have, by name, each read from the result's JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gmcn import tasks
from gmcn.config.sections import FOLD
from gmcn.errors import InputError
from gmcn.results.reading import at
from gmcn.results.seeds import over_seeds
from gmcn.tasks.metric import Metric

# Mean and standard deviation over seeds; None where a result does not have them.
Value = tuple[float | None, float | None]
NOTHING: Value = (None, None)
SEVERAL = "several"  # devices, of trainings whose times cannot be compared


@dataclass(frozen=True)
class Column:
    """How a column is called, written and found."""

    title: str
    digits: int
    read: Callable[[Mapping[str, Any]], Value]  # from a result's JSON
    note: str | None = None


def column(name: str, of: Sequence[str] = tasks.TASKS) -> Column:
    """The column of this name, for a table with results ``of`` these tasks."""
    if name in COLUMNS:
        return COLUMNS[name]
    metrics = {metric.name: metric for task in of for metric in tasks.measures(task).metrics}
    if measured := metrics.get(name):
        return of_metric(measured)
    if (match := re.fullmatch(r"worst-(.+)", name)) and match[1] in metrics:
        return of_worst(metrics[match[1]])
    if match := re.fullmatch(r"validation(\d+)", name):
        epoch = int(match[1])
        return Column(f"accuracy after {epoch} epochs (%)", 2, lambda result: _validation(result, epoch), VALIDATION)
    if match := re.fullmatch(r"rmse(\d)-(all|relu|reduction)", name):
        layer, kind = int(match[1]), match[2]
        return Column(f"RMSE {kind}, layer {layer}", 4, lambda result: _rmse(result, layer, kind), RMSE)
    if match := re.fullmatch(FOLD, name):
        by_class, metric, difference = match.groups()
        shown = next(validated for task in of for validated in tasks.validated(task) if validated.name == metric)
        title = f"validation {shown.heading}{', classes alike' * bool(by_class)}{', difference' * bool(difference)}"
        return Column(title, shown.digits, lambda _: NOTHING)
    raise InputError(f"there is no column '{name}'")


def of_metric(metric: Metric) -> Column:
    """A task's metric as people read it."""
    return Column(
        metric.heading, metric.digits, lambda result: scaled(_pair(result, "metrics", metric.name), metric.scale)
    )


def of_worst(metric: Metric) -> Column:
    """A task's metric of the seed that is worst by it; of a rival, which is made once, its own."""

    def worst(result: Mapping[str, Any]) -> Value:
        own = at(result, "metrics", metric.name) or {}
        values = list(own.get("seeds", {"": own.get("mean")}).values())
        if None in values:
            return NOTHING
        return scaled(((min if metric.larger_is_better else max)(values), None), metric.scale)

    return Column(f"{metric.heading}, worst", metric.digits, worst, WORST)


def over(values: Sequence[float | None]) -> Value:
    """Mean and standard deviation (None for one value); nothing where a value is missing."""
    return over_seeds(values) if values else NOTHING


def scaled(value: Value, factor: float) -> Value:
    """Mean and deviation in another unit."""
    return tuple(None if number is None else factor * number for number in value)


def device_of(result: Mapping[str, Any]) -> str | None:
    """The name of the device that networks were trained on, or that a rival says itself."""
    trainings = at(result, "training") or {}
    said = [training | {"provenance": at(result, "provenance", "train", seed)} for seed, training in trainings.items()]
    return device_of_trainings(said) or at(result, "device")


def device_of_trainings(trainings: Iterable[Mapping[str, Any]]) -> str | None:
    """The name of the device of all trainings, :data:`SEVERAL` where they differ, None where there are none."""
    names = set()
    for training in trainings:
        device = at(training, "device")
        on_gpu = str(device).startswith("cuda")
        names.add(at(training, "provenance", "gpu" if on_gpu else "cpu") or device)
    return SEVERAL if len(names) > 1 else next(iter(names), None)


def _pair(result: Mapping[str, Any], *path: str) -> Value:
    return at(result, *path, "mean"), at(result, *path, "std")


def _validation(result: Mapping[str, Any], epoch: int) -> Value:
    histories = at(result, "history") or {}
    return scaled(over([at(history, "validation_accuracy", epoch - 1) for history in histories.values()]), 100)


def _rmse(result: Mapping[str, Any], layer: int, kind: str) -> Value:
    return tuple(at(result, "measures", "rmse", part, layer - 1, kind, "standardised") for part in ("layers", "std"))


def _samples(result: Mapping[str, Any], name: str) -> Value:
    """A number of the samples of a density, or of the rival `test-set`."""
    if at(result, "rival") is not None:
        return _pair(result, "metrics", name)
    return tuple(at(result, "measures", "samples", part, name) for part in ("mean", "std"))


def _voted(result: Mapping[str, Any], name: str) -> Value:
    """A share in per cent by the mean probabilities over variations of each object."""
    return scaled(tuple(at(result, "details", "voted", part, name) for part in ("mean", "std")), 100)


def _kernels(result: Mapping[str, Any]) -> Value:
    layers, classes = at(result, "settings", "network", "layers"), at(result, "details", "per_class", "mean")
    if layers is None or classes is None:
        return NOTHING
    network = at(result, "settings", "network")
    head = network.get("head") is not None  # after which channels are no classes
    skip, given, kernels = network.get("skip"), 1, 0
    for channels in (*(layer[0] for layer in layers), network.get("head_channels", 32) if head else len(classes)):
        kernels += given * channels
        given = channels + (given if skip else 0)
    return kernels, None


def _gib(result: Mapping[str, Any]) -> Value:
    trainings = at(result, "training") or {}
    if any(at(training, "peak_memory", "kind") == "resident" for training in trainings.values()):
        taken = at(result, "measures", "footprint", "measured", "bytes")
        return (None if taken is None else taken * 2**-30), None
    return scaled(over([at(training, "peak_memory", "bytes") for training in trainings.values()]), 2**-30)


VALIDATION = (
    "Ours after fewer epochs than all is accuracy on the validation split, since nothing looks at the test set during "
    "a training; the paper's is on the test set. Its accuracies are read off smoothed curves."
)
MEMORY = "Peak memory is that of tensors: of the whole training on a GPU, of one measured step of it on a CPU."
RMSE = "RMSE is standardised as by the authors' code: by the truth's deviation over all shapes, channels and points."
WORST = "Worst is that of all seeds, by this number; how many there are stands with the result."
SAMPLES = (
    "Samples are compared with training objects: the Jensen-Shannon divergence of how both fill bins of k-means, the "
    "number of bins whose share differs at 5 % (it grows with the number of samples), and the share that lies nearer "
    "to the mean of their own cluster than to a training object."
)
CLOUDS = (
    "Samples are clouds, as many as test objects; the measures are PointFlow's (2019), means over sets. 1-NNA: 50 % "
    "means that samples and test objects cannot be told apart. Chamfer distances are squared, earth mover's distances "
    "are not."
)
VOTES = (
    "Votes are cast on variations of each test object that are drawn as in training; their mean probabilities decide."
)
CLASSES = "By another trained network: of samples, and of five interpolations each between 50 pairs of test objects."
COLUMNS = {
    "js": Column("samples: divergence (JS, nats)", 4, lambda result: _samples(result, "js"), SAMPLES),
    "ndb": Column("samples: different bins (NDB)", 0, lambda result: _samples(result, "ndb"), SAMPLES),
    "repeats": Column("samples: repeats (%)", 1, lambda result: scaled(_samples(result, "repeats"), 100), SAMPLES),
    "jsd": Column("samples: JSD (bits)", 4, lambda result: _samples(result, "jsd"), CLOUDS),
    **{
        f"{name}_{distance}": Column(
            f"samples: {title}, {said}",
            digits,
            lambda r, key=f"{name}_{distance}", by=by: scaled(_samples(r, key), by),
            CLOUDS,
        )
        for name, title, digits, by in (
            ("nna", "1-NNA (%)", 1, 100),
            ("coverage", "COV (%)", 1, 100),
            ("mmd", "MMD (1e-3)", 2, 1e3),
        )
        for distance, said in (("chamfer", "Chamfer"), ("emd", "EMD"))
    },
    "copies": Column(
        "samples: distance to training objects over that of test objects", 2, lambda r: _samples(r, "copies"), CLOUDS
    ),
    **{
        f"class_{name}": Column(
            f"{title} classified as the class (%)",
            1,
            lambda r, key=f"class_{name}": scaled(_samples(r, key), 100),
            CLASSES,
        )
        for name, title in (
            ("samples", "samples"),
            ("between", "interpolations"),
            ("blends", "mixed points of two objects"),
            ("test", "test objects"),
        )
    },
    "voted": Column("accuracy of votes (%)", 2, lambda result: _voted(result, "accuracy"), VOTES),
    "voted_class_accuracy": Column(
        "mean class accuracy of votes (%)", 2, lambda result: _voted(result, "class_accuracy"), VOTES
    ),
    "dead": Column("dead components", 1, lambda result: _pair(result, "details", "dead")),
    "kernels": Column("kernels", 0, _kernels),
    "parameters": Column("parameters", 0, lambda result: (at(result, "parameters"), None)),
    "gib": Column("peak memory (GiB)", 2, _gib, MEMORY),
    "minutes": Column("training (min)", 1, lambda result: scaled(_pair(result, "seconds", "training"), 1 / 60)),
    "fit_likelihood": Column(
        "input fit: log-likelihood (nats per point)",
        3,
        lambda result: (at(result, "input_fit", "log_likelihood_test"), None),
    ),
    "fit_seconds": Column("input fit (s)", 0, lambda result: (at(result, "seconds", "fit"), None)),
    # Not of a trained network: tables.py reads them elsewhere.
    "kernel-gaussians": Column("K", 0, lambda _: NOTHING),
    "data-gaussians": Column("D", 0, lambda _: NOTHING),
    "gaussians": Column("G", 0, lambda _: NOTHING),
    "mib2d": Column("2D (MiB)", 2, lambda _: NOTHING),
    "mib3d": Column("3D (MiB)", 2, lambda _: NOTHING),
    "seconds": Column("time (s)", 4, lambda _: NOTHING),
    "training_seconds": Column("training (s)", 0, lambda _: NOTHING),
    "verdict": Column("verdict", 0, lambda _: NOTHING),
    "rmse": Column("RMSE", 4, lambda _: NOTHING),
    "standardised-rmse": Column("standardised RMSE", 4, lambda _: NOTHING),
}
