"""Rivals of densities: trained on the first half of the classes, they find the test objects of the second half.

Values are divided by the largest of a training object, as those of the network ``gmm`` are by its option ``largest``:
log-likelihoods of images and vectors are then in one unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gmcn.data.objects import IMAGES, VECTORS, ObjectSet, of_classes
from gmcn.errors import InputError
from gmcn.tasks.density.measures import AUC, LOG_LIKELIHOOD, is_known, outliers

SEED = 0
FACTORS = (1, 2, 5, 10, 20, 50, 100, 200)  # one of which is chosen on a part of the training objects
COMPONENTS, FLOOR = 25, 0.01
Scores = Callable[[np.ndarray], np.ndarray]  # [T, d] -> [T]


@dataclass(frozen=True)
class Detector:
    """``scores`` are high for outliers, and negative log-likelihoods in nats where it is a ``density``."""

    scores: Scores
    density: bool = True
    facts: dict[str, Any] = field(default_factory=dict)  # for the result


def nearest_neighbour(values: np.ndarray) -> Detector:  # [N, d]
    """The distance to the nearest training object."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(values)
    return Detector(lambda new: model.kneighbors(new)[0][:, 0], density=False)


def principal_components(values: np.ndarray) -> Detector:  # [N, d]
    """Probabilistic principal components; their number is the most likely one for a tenth that is held out."""
    from sklearn.decomposition import PCA
    from sklearn.model_selection import train_test_split

    def fitted(factors: int, some: np.ndarray) -> PCA:
        return PCA(factors, svd_solver="covariance_eigh").fit(some)

    # In double precision: the model inverts its covariance.
    train, held = train_test_split(values.astype(np.float64), test_size=0.1, random_state=SEED)
    possible = [factors for factors in FACTORS if factors < min(train.shape)]
    if not possible or not train.std(0).any():
        raise InputError(
            "the rival outliers-ppca needs training objects of at least two numbers each that are not all the same; "
            "take outliers-nearest-neighbour"
        )
    judged = {factors: float(fitted(factors, train).score(held)) for factors in possible}
    chosen = max(judged, key=judged.__getitem__)
    model = fitted(chosen, values.astype(np.float64))
    facts = {"factors": chosen, "validation": {str(factors): value for factors, value in judged.items()}}
    return Detector(lambda new: -model.score_samples(new.astype(np.float64)), facts=facts)


def diagonal_mixture(values: np.ndarray) -> Detector:  # [N, d]
    """scikit-learn's mixture with diagonal covariances, in float32."""
    from sklearn.mixture import GaussianMixture

    settings = {"n_components": COMPONENTS, "covariance_type": "diag", "reg_covar": FLOOR}
    model = GaussianMixture(**settings, random_state=SEED).fit(values)
    facts = {"settings": settings, "iterations": int(model.n_iter_), "converged": bool(model.converged_)}
    return Detector(lambda new: -model.score_samples(new), facts=facts)


OUTLIERS: dict[str, Callable[[np.ndarray], Detector]] = {
    "outliers-nearest-neighbour": nearest_neighbour,
    "outliers-ppca": principal_components,
    "outliers-sklearn": diagonal_mixture,
}


def find_outliers(rival: str, train: ObjectSet, test: ObjectSet, vectors: Callable[[ObjectSet], Any]) -> dict[str, Any]:
    """The parts of the result of such a rival; ``vectors`` makes those [S, d] of objects."""
    import sklearn.decomposition
    import sklearn.mixture
    import sklearn.neighbors  # noqa: F401  (not in the time measured)

    known = list(range((len(train.class_names) + 1) // 2))
    data = of_classes(train, known)
    values, new = (np.ascontiguousarray(vectors(some).numpy(), dtype=np.float32) for some in (data, test))
    largest = np.abs(values).max() or 1.0
    values, new = values / largest, new / largest
    if len(values) < 2 * COMPONENTS:
        raise InputError(f"a rival of densities needs {2 * COMPONENTS} training objects, and there are {len(values)}")
    started = time.perf_counter()
    detector = OUTLIERS[rival](values)
    ended = time.perf_counter()
    scores = torch.from_numpy(detector.scores(new)).double()
    seconds = {"training": ended - started, "prediction": time.perf_counter() - ended}
    found = outliers(scores, test, known)
    likely = detector.density and train.kind in (IMAGES, VECTORS)
    likelihood = -scores[is_known(test, known)].mean().item() if likely else None
    return {
        "metrics": {AUC.name: found[AUC.name], LOG_LIKELIHOOD.name: likelihood},
        "seconds": seconds,
        "objects": {"train": len(data), "of": len(data), "test": len(test)},
        **detector.facts,
        "details": {"outliers": found["outliers"]},
        "classes": known,
        "scores": scores.tolist(),
    }
