"""Variants compared over the folds of a training split, from the trainings that exist; the test split is never read."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmcn import tasks
from gmcn.artifacts import read_json
from gmcn.config.sections import FOLD
from gmcn.config.tables import fold_file, points_file
from gmcn.data.folds import descriptors, fold_of, near_duplicates
from gmcn.data.objects import POINTS, TRAIN, read_split
from gmcn.errors import InputError
from gmcn.results.folds import Candidate, estimate, verdicts
from gmcn.results.metrics import SEVERAL, device_of_trainings
from gmcn.results.reading import at
from gmcn.results.table import Cell, Row
from gmcn.tasks.metric import Metric


@dataclass(frozen=True)
class Judged:
    """The metrics of S objects, in order of their names, each from the fold that judged it and averaged over seeds."""

    names: list[str]
    labels: np.ndarray  # [S]
    values: dict[str, np.ndarray]  # by metric, [S]
    seconds: float | None = None  # of a training on all folds
    parameters: int | None = None
    device: str | None = None


def fold_rows(table: Mapping[str, Any], inputs: Sequence[str | os.PathLike], command: str) -> list[Row]:
    """The rows of a table over folds; those that lack a training say what makes it."""
    paths = {"/".join(Path(path).parts[-4 if Path(path).suffix == ".json" else -2 :]): path for path in inputs}
    judged = [_variant(table, row, paths) if "variant" in row else _rival(table, paths) for row in table["rows"]]
    known = [one for one in judged if one is not None]
    for one in known[1:]:
        if one.names != known[0].names or (one.labels != known[0].labels).any():
            raise InputError(f"the rows of {table['name']} are about different objects; make their trainings again")
    by_class, metric, _ = _parts(table["columns"][0])
    devices = {one.device for one in known if one.device}  # the rival has none
    alike = len(devices) < 2 and SEVERAL not in devices

    def candidate(one: Judged | None) -> Candidate | None:
        if one is None or metric not in one.values:
            return None
        # Times of different devices do not decide.
        seconds = one.seconds if alike or one.seconds is None else 0.0
        return Candidate(one.values[metric], seconds, one.parameters)

    candidates = [candidate(one) for one in judged]
    labels = known[0].labels if known and by_class else None
    decided = verdicts(candidates, _validated(table)[metric].larger_is_better, labels)
    rows = []
    for row, one, verdict in zip(table["rows"], judged, decided, strict=True):
        cells = {name: _cell(table, name, one, judged[0], verdict) for name in table["columns"]}
        file = _files(table, row) if "variant" in row else points_file(table)
        missing = f"{command}/{file}" if one is None else None
        seeds = len(table["seeds"]) if "variant" in row else None
        rows.append(Row(row["label"], cells, file, missing, seeds, device=None if one is None else one.device))
    return rows


def _validated(table: Mapping[str, Any]) -> dict[str, Metric]:
    """By name, the metrics of which the trainings say what every object was worth."""
    return {metric.name: metric for task in table["tasks"] for metric in tasks.validated(task)}


def _parts(column: str) -> tuple[bool, str, bool]:
    """Split a column's name: whether the mean is over classes, the metric, whether it is a difference."""
    by_class, metric, difference = re.fullmatch(FOLD, column).groups()
    return bool(by_class), metric, bool(difference)


def _cell(table: Mapping[str, Any], column: str, one: Judged | None, first: Judged | None, verdict: str | None) -> Cell:
    if one is None or column == "verdict":
        return Cell(None, text=verdict)
    if column in ("training_seconds", "parameters"):
        return Cell(None, one.seconds if column == "training_seconds" else one.parameters)
    by_class, metric, is_difference = _parts(column)
    if metric not in one.values or (is_difference and (first is None or first is one)):
        return Cell(None)
    values = one.values[metric] - first.values[metric] if is_difference else one.values[metric]
    scale = _validated(table)[metric].scale
    mean, error = estimate(scale * values, one.labels if by_class else None)
    return Cell(None, mean, error)


def _files(table: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """All trainings of a row, as a shell reads it."""
    fold, seeds = f"{{1..{table['folds']}}}", ",".join(map(str, table["seeds"]))
    return fold_file(table, row, fold, f"{{{seeds}}}" if "," in seeds else seeds)


def _variant(table: Mapping[str, Any], row: Mapping[str, Any], paths: Mapping[str, Any]) -> Judged | None:
    """The metrics of a variant; None if a training is missing."""
    folds, seeds = range(1, table["folds"] + 1), table["seeds"]
    wanted = {place: fold_file(table, row, *place) for place in itertools.product(folds, seeds)}
    if not paths.keys() >= set(wanted.values()):
        return None
    trainings = {place: read_json(paths[file]) for place, file in wanted.items()}
    of_seeds = [_one_seed(table, paths, wanted, trainings, seed) for seed in seeds]
    if any(other.names != of_seeds[0].names for other in of_seeds):
        raise InputError(f"the seeds of {row['variant']} were judged on different objects; make their trainings again")
    return Judged(
        of_seeds[0].names,
        of_seeds[0].labels,
        {name: np.mean([one.values[name] for one in of_seeds], 0) for name in of_seeds[0].values},
        sum(training["seconds"] for training in trainings.values()) / len(seeds),
        trainings[1, seeds[0]]["parameters"],
        device_of_trainings(trainings.values()),
    )


def _one_seed(
    table: Mapping[str, Any],
    paths: Mapping[str, Any],
    wanted: Mapping[Any, str],
    trainings: Mapping[Any, Any],
    seed: int,
) -> Judged:
    """All objects as the folds of one seed have judged them."""
    names, labels, values = [], [], {name: [] for name in _validated(table)}
    for (fold, own), training in trainings.items():
        if own != seed:
            continue
        path, said = paths[wanted[fold, own]], at(training, "settings", "training", "fold")
        if said is None or said.split()[0] != str(fold) or "validation" not in training:
            raise InputError(f"{path} does not belong to a training on fold {fold}; make it again")
        judged = training["validation"]
        names += judged["names"]
        labels += judged["labels"]
        for name in values:
            values[name] += judged[name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"'{twice}' was judged in two folds of {path}; make the trainings of all its folds again")
    return _in_order(names, labels, values)


def _in_order(names: Sequence[str], labels: Any, values: Mapping[str, Any]) -> Judged:
    order = np.argsort(names)
    return Judged(
        [names[index] for index in order],
        np.asarray(labels)[order],
        {name: np.asarray(own, dtype=float)[order] for name, own in values.items()},
    )


def _rival(table: Mapping[str, Any], paths: Mapping[str, Any]) -> Judged | None:
    """The class of the nearest object that is trained on; None without the sampled objects, or without classes."""
    from sklearn.neighbors import KNeighborsClassifier

    if points_file(table) not in paths:
        return None
    data = read_split(paths[points_file(table)], TRAIN)
    if data.labels is None:
        return None
    vectors, radius = descriptors(data.inputs, data.kind == POINTS)
    groups = near_duplicates(vectors, radius) if table["duplicates"] == "together" else None
    labels, right = data.labels.numpy(), np.zeros(len(data))
    for fold in range(1, table["folds"] + 1):
        train, validation = fold_of(data.labels, fold, table["folds"], groups)
        nearest = KNeighborsClassifier(1).fit(vectors[train], labels[train])
        right[validation] = nearest.predict(vectors[validation]) == labels[validation]
    return _in_order(data.names, labels, {"accuracy": right})
