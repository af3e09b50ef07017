"""The stage `rival`: what is no network of ours answers the test split, for a row of a table of results.

Rivals classify, find outliers (:mod:`gmcn.results.outliers`), or are what else densities are set beside
(:mod:`gmcn.results.density_references`). All these see an object as one vector: the values of an
image or vector, and of a cloud or mixture one whose distances are the sliced Wasserstein distance
(:func:`gmcn.data.folds.descriptors`). For those that classify, all vectors are divided by one number, so that the
values of the training objects have a mean square of one; one rival sees nothing but how large an object is. Networks
that generate or register clouds have rivals which see clouds, and need no labels
(:mod:`gmcn.results.generation_references`, :mod:`gmcn.results.registration_references`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gmcn.artifacts import provenance, sha256, write_json
from gmcn.data.folds import descriptors
from gmcn.data.objects import IMAGES, TEST, TRAIN, VECTORS, ObjectSet, read_split
from gmcn.device import own_defaults
from gmcn.errors import InputError, unknown
from gmcn.mixture import Mixture, log_size
from gmcn.results.density_references import REFERENCES, refer
from gmcn.results.generation_references import GENERATION, refer_generation
from gmcn.results.kernels import Kernel, gram, judge_ridges, nngp, ntk, solve
from gmcn.results.outliers import OUTLIERS, find_outliers
from gmcn.results.reading import FORMAT
from gmcn.results.registration_references import REGISTRATION, refer_registration
from gmcn.tasks.classification.measures_of_answers import ACCURACY, CLASS_ACCURACY, measure
from gmcn.tracking import NO_RUN, Run

LIMIT = 10_000  # training objects of a kernel: its matrix then takes 0.8 GB, and some seconds to solve
SEED = 0  # which of more there are
SIZE = "size-neighbours"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A rival that has seen ``objects`` of the training objects; ``facts`` are for its result."""

    scores: Callable[[Tensor], Tensor]  # vectors [T, d] -> [T, classes]
    objects: int
    facts: dict[str, Any] = field(default_factory=dict)


def nearest_neighbour(vectors: Tensor, labels: Tensor, classes: int, neighbours: int = 1) -> Trained:  # [N, d], [N]
    """The class of the nearest training object, or of most of the nearest ones."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(neighbours, len(labels))).fit(vectors.numpy(), labels.numpy())
    return Trained(lambda new: one_hot(torch.from_numpy(model.predict(new.numpy())), classes).double(), len(labels))


def logistic(vectors: Tensor, labels: Tensor, classes: int) -> Trained:  # [N, d], [N]
    """Logistic regression with scikit-learn's default penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(vectors.numpy(), labels.numpy())

    def scores(new: Tensor) -> Tensor:
        found = torch.zeros(len(new), classes, dtype=torch.float64)
        found[:, model.classes_] = torch.from_numpy(model.predict_proba(new.numpy())).double()
        return found

    return Trained(scores, len(labels))


def kernel_regression(
    kernel: Kernel,
    vectors: Tensor,  # [N, d]
    labels: Tensor,  # [N]
    classes: int,
    limit: int = LIMIT,
) -> Trained:
    """Ridge regression on at most ``limit`` training objects, a part of which chooses the ridge, in float64."""
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))[:limit]
    vectors, labels = vectors[chosen].double(), labels[chosen]
    values = gram(kernel, vectors, vectors)
    judged = judge_ridges(values, labels, classes)
    ridge = max(judged, key=judged.__getitem__)
    solved, mean = solve(values, labels, classes, ridge)
    return Trained(
        lambda new: torch.cat([kernel(part.double(), vectors) @ solved + mean for part in new.split(512)]),
        len(labels),
        {"ridge": ridge, "validation": {str(one): accuracy for one, accuracy in judged.items()}},
    )


RIVALS: dict[str, Callable[[Tensor, Tensor, int], Trained]] = {
    "nearest-neighbour": nearest_neighbour,
    SIZE: lambda *training: nearest_neighbour(*training, neighbours=15),
    "logistic": logistic,
    "nngp": lambda *training: kernel_regression(nngp, *training),
    "ntk": lambda *training: kernel_regression(ntk, *training),
}


@own_defaults()
def compare(
    points: str | os.PathLike,
    *,
    rival: str,
    output: str | os.PathLike,
    run: Run = NO_RUN,
) -> dict[str, Any]:
    """Train ``rival`` on the training objects of the points artifact, let it answer the test split, write ``output``.

    Returns what it writes, which tables read as they read results. Raises :class:`InputError` for an unknown rival, for
    objects that are not of its kind, and for objects without labels, or all of one class, where it needs them.
    """
    known = (*RIVALS, *OUTLIERS, *REFERENCES, *GENERATION, *REGISTRATION)
    if rival not in known:
        raise unknown("rival", rival, known)
    train, test = read_split(points, TRAIN), read_split(points, TEST)
    if rival in GENERATION:
        found = refer_generation(rival, train, test)
    elif rival in REGISTRATION:
        found = refer_registration(rival, train, test)
    else:
        found = _of_classes(rival, train, test, points)
    metrics, deviations = found.pop("metrics"), found.pop("std", {})
    seconds, origin = found.pop("seconds"), provenance()
    result = {
        "format": FORMAT,
        "dataset": train.metadata.get("dataset"),
        "rival": rival,
        "metrics": {name: {"mean": value, "std": deviations.get(name)} for name, value in metrics.items()},
        "seconds": {name: {"mean": value, "std": None} for name, value in seconds.items()},
        **found,
        "inputs": {"points": sha256(points)},
        "device": origin["cpu"],
        "threads": torch.get_num_threads(),
        "run_id": run.id,
        "provenance": origin,
    }
    write_json(output, result)
    name, value = next(iter(metrics.items()))
    said = "-" if value is None else f"{value:.4f}"
    _LOG.info("%s on %s: %s %s, in %.1f s", rival, result["dataset"], name, said, sum(seconds.values()))
    run.log_metrics({f"rival/{name}": value for name, value in {**metrics, **seconds}.items() if value is not None})
    return result


def _of_classes(rival: str, train: ObjectSet, test: ObjectSet, points: str | os.PathLike) -> dict[str, Any]:
    """The parts of the result of a rival whose answers are told by classes."""
    if train.labels is None:
        raise InputError(f"the objects of {points} have no labels, and a rival is told by the classes that it answers")
    if len(train.labels.unique()) < 2:
        raise InputError(f"the training objects of {points} are all of one class, and a rival needs two")
    if rival in RIVALS:
        return classify(rival, train, test)
    of_density = find_outliers if rival in OUTLIERS else refer
    return of_density(rival, train, test, _vectors)


def classify(rival: str, train: ObjectSet, test: ObjectSet) -> dict[str, Any]:
    """The parts of the result of a rival that classifies."""
    import sklearn.linear_model
    import sklearn.neighbors  # noqa: F401  (not in the time measured)

    assert train.labels is not None
    vectors, new = (sizes(train), sizes(test)) if rival == SIZE else scaled(train, test)
    started = time.perf_counter()
    trained = RIVALS[rival](vectors, train.labels, len(train.class_names))
    ended = time.perf_counter()
    measured = measure(trained.scores(new), test)
    return {
        "metrics": {metric.name: measured[metric.name] for metric in (ACCURACY, CLASS_ACCURACY)},
        "seconds": {"training": ended - started, "prediction": time.perf_counter() - ended},
        "objects": {"train": trained.objects, "of": len(train), "test": len(test)},
        **trained.facts,
        "details": {"per_class": measured["per_class"]},
        "predictions": measured["predictions"],
    }


def scaled(train: ObjectSet, test: ObjectSet) -> tuple[Tensor, Tensor]:  # [N, d], [T, d], float32
    """The vectors of both splits, divided by one number that the training objects give."""
    vectors, new = (_vectors(data) for data in (train, test))
    scale = vectors.square().mean().sqrt().clamp(min=1e-30)
    return vectors / scale, new / scale


def sizes(data: ObjectSet) -> Tensor:  # [S, 1], float32
    """How large each object is: the mean logarithm of its standard deviations along the axes, in the data's units."""
    if data.kind in (IMAGES, VECTORS):
        raise InputError(f"{SIZE} is a rival on clouds and mixtures, and these are {data.kind}; take another one")
    if isinstance(data.inputs, Mixture):
        return log_size(data.inputs.map(Tensor.double))[:, None].float()
    variances = data.inputs.double().var(1, correction=0)
    return variances.clamp(min=torch.finfo(torch.float32).tiny).log().mean(1, keepdim=True).float() / 2


def _vectors(data: ObjectSet) -> Tensor:  # [S, d]
    if data.kind in (IMAGES, VECTORS):
        return data.inputs.flatten(1).float()
    return torch.from_numpy(descriptors(data.inputs, clouds=True)[0])
