"""What else densities are set beside: clusters of k-means, and the test objects themselves.

Objects of all classes are taken, as by a density that leaves none out; values are divided by the largest of a training
object.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import ObjectSet
from gmcn.errors import InputError
from gmcn.results.sample_quality import BINS, Reference
from gmcn.tasks.density.measures_of_clusters import CLUSTERS, LIMIT, clustering

SEED = 0
COMPONENTS = 25
SAMPLES = ("js", "ndb", "repeats")  # which tables can show
Found = tuple[dict[str, float | None], dict[str, Any]]  # metrics, and details


def kmeans(train: Tensor, test: Tensor, data: ObjectSet) -> Found:  # [N, d], [T, d]
    """Clusters of k-means, by the nearest centre of each test object; as many objects as a density is measured by."""
    from sklearn.cluster import KMeans

    if len(train) < COMPONENTS:
        raise InputError(f"{COMPONENTS} clusters need as many training objects, and there are {len(train)}")
    model = KMeans(COMPONENTS, n_init=1, random_state=SEED).fit(train.numpy())
    first = test[:LIMIT]
    labels = None if data.labels is None else data.labels[:LIMIT]
    found = clustering(first, labels, torch.from_numpy(model.predict(first.numpy())).long())
    return {metric.name: found[metric.name] for metric in CLUSTERS}, {"clusters": found["clusters"]}


def itself(train: Tensor, test: Tensor, data: ObjectSet) -> Found:  # [N, d], [T, d]
    """The test objects as if they were the samples of a density."""
    found = Reference(train, BINS, SEED).compare(test)
    return {name: float(found[name]) for name in SAMPLES}, found


REFERENCES: dict[str, Callable[[Tensor, Tensor, ObjectSet], Found]] = {"clusters-kmeans": kmeans, "test-set": itself}


def refer(name: str, train: ObjectSet, test: ObjectSet, vectors: Callable[[ObjectSet], Tensor]) -> dict[str, Any]:
    """The parts of the result of such a rival; ``vectors`` makes those [S, d] of objects."""
    import sklearn.cluster  # noqa: F401  (not in the time measured)

    values, new = (vectors(data).float() for data in (train, test))
    largest = values.abs().max().clamp(min=1e-30)
    started = time.perf_counter()
    metrics, details = REFERENCES[name](values / largest, new / largest, test)
    return {
        "metrics": metrics,
        "seconds": {"training": time.perf_counter() - started},
        "objects": {"train": len(train), "of": len(train), "test": len(test)},
        "details": details,
    }
