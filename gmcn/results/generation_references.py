"""What networks that generate clouds are set beside: training objects, EM for each object, and its nearest neighbour.

- ``generation-training``: five sets of at most 100 training objects as if they were samples, each beside as many test
  objects (:mod:`gmcn.results.cloud_sets`). No two sets share an object where there are enough. What they reach is what
  samples of the training objects' own distribution reach; and as they are copies, ``copies`` is 0.
- ``generation-em``: a mixture for each object (:mod:`gmcn.results.shape_em`).
- ``completion-nearest``: of each test object a plane leaves some share, of which 512 points are seen
  (:func:`gmcn.data.views.look`); the training object that lies nearest to these is the answer
  (:mod:`gmcn.tasks.generation.measures_of_completion`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gmcn.data.objects import POINTS, ObjectSet
from gmcn.data.views import Views, look
from gmcn.errors import InputError
from gmcn.progress import Progress
from gmcn.results.cloud_sets import MEASURES, Reference
from gmcn.results.seeds import over_seeds
from gmcn.results.shape_em import fits, per_shape
from gmcn.tasks.generation.measures_of_completion import COVERAGE, COVERAGES, completion_errors, nearest_objects

SEED = 0
SETS, COUNT = 5, 100


def training_objects(train: Tensor, test: Tensor) -> dict[str, Any]:  # [T, M, 3], [S, M, 3]
    """Sets of training objects as samples: means and deviations over the sets."""
    generator = torch.Generator().manual_seed(SEED)
    reference = test[torch.randperm(len(test), generator=generator)[:COUNT]]
    count = min(len(reference), len(train))
    rounds = -(-SETS * count // len(train))
    order = torch.cat([torch.randperm(len(train), generator=generator) for _ in range(rounds)])
    measured = Reference(reference, train)
    with Progress() as bar:
        task = bar.add_task("compare sets", total=SETS * measured.searches(count))
        sets = [
            measured.compare(train[chosen], lambda done: bar.advance(task, done))
            for chosen in order[: SETS * count].split(count)
        ]
    mean, deviation = over_seeds([{name: one[name] for name in MEASURES} for one in sets])
    return {"metrics": mean, "std": deviation, "details": {"sets": sets}}


def em_of_each(train: Tensor, test: Tensor) -> dict[str, Any]:  # [T, M, 3], [S, M, 3]
    """The log-likelihood of unseen points under EM of each test object, by what training objects choose."""
    with Progress() as bar:
        task = bar.add_task("EM of each object", total=fits(test.shape[1], len(train), len(test)))
        found = per_shape(train, test, lambda done: bar.advance(task, done))
    best = found[found["best"]]
    n = str(best["chosen"]["components"])
    return {"metrics": {"log_likelihood": best["by_components"][n]["log_likelihood"]}, "details": found}


def nearest_training(train: Tensor, test: Tensor) -> dict[str, Any]:  # [T, M, 3], [S, M, 3]
    """Errors of the nearest training object as the completion of a partial view."""
    completions = {}
    with Progress() as bar:
        task = bar.add_task("complete", total=len(COVERAGES) * len(test))
        for coverage in COVERAGES:
            seen = look(test, Views(coverage=(coverage, coverage)), torch.Generator().manual_seed(SEED))
            nearest = nearest_objects(seen.points, train, lambda done: bar.advance(task, done))
            errors = completion_errors(train[nearest], test, seen.kept, seen.planes)
            completions[str(coverage)] = {name: value.mean().item() for name, value in errors.items()}
            if coverage == COVERAGE:
                each = {name: value.tolist() for name, value in errors.items()} | {"nearest": nearest.tolist()}
    half = completions[str(COVERAGE)]
    return {"metrics": {"completion": half["chamfer"]}, "details": {"completions": completions, "half": each}}


GENERATION: dict[str, Callable[[Tensor, Tensor], dict[str, Any]]] = {
    "generation-training": training_objects,
    "generation-em": em_of_each,
    "completion-nearest": nearest_training,
}


def refer_generation(name: str, train: ObjectSet, test: ObjectSet) -> dict[str, Any]:
    """The parts of the result of such a rival. Raises :class:`InputError` for objects that are no clouds in space."""
    if train.kind != POINTS or train.traits["dim"] != 3:
        raise InputError(f"the rival {name} is one of networks that generate clouds, and these are {train.kind}")
    known, unseen = torch.as_tensor(train.inputs), torch.as_tensor(test.inputs)
    started = time.perf_counter()
    found = GENERATION[name](known.float(), unseen.float())
    return {
        **found,
        "seconds": {"training": time.perf_counter() - started},
        "objects": {"train": len(train), "of": len(train), "test": len(test)},
        "names": test.names,
    }
