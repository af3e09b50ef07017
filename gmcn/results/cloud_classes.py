"""Whether a classifier takes clouds that a network makes for objects of the class that the network was trained on.

Judged are clouds of codes on the line between those of two test objects (``class_between``) and samples
(``class_samples``), beside the test objects themselves (``class_test``), which no network need exceed, and clouds that
have some points of each of the two (``class_blends``), which need no network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmcn import tasks
from gmcn.artifacts import read_metadata, sha256
from gmcn.data.samples import normalize
from gmcn.errors import InputError
from gmcn.fitting import fit_points
from gmcn.fitting.settings import NETWORK
from gmcn.models.loading import load, model_path

PAIRS = 50  # of test objects
STEPS = 5  # between two
SEED = 0
BATCH = 50  # bounds memory


class Classifier:
    """A trained network of clouds of M points, a pretrained one or that of a file, as of :func:`gmcn.load`.

    Raises :class:`InputError` for one that does not classify clouds. ``classes`` and ``points``, the size of its
    clouds, say of which it can be asked.
    """

    def __init__(self, name: str) -> None:
        path = model_path(Path(name))
        self._network, metadata = load(path), read_metadata(path)
        inputs, task = metadata.get("inputs", {}), metadata.get("task", tasks.DEFAULT_TASK)
        self._data, self._fit = inputs.get("data", {}), inputs.get("fit") or {}
        if task != tasks.DEFAULT_TASK or "points" not in self._data or self._fit.get("method") == NETWORK:
            raise InputError(f"samples.classifier: {name} does not classify clouds")
        self.classes: list[str] = metadata["class_names"]
        self.points: int = self._data["points"]
        self.sha256 = sha256(path)

    @torch.no_grad()
    def share(
        self,
        wanted: str,
        clouds: Tensor,  # [S, M, 3]
        progress: Callable[[int], object] = lambda _: None,
    ) -> float:
        """The share of clouds that are of this class, each prepared as an object of the network's data set was."""
        place, found = self.classes.index(wanted), 0
        for part in clouds.split(BATCH):
            moved = torch.from_numpy(normalize(part.numpy())) if self._data.get("normalize") else part
            options = {key: value for key, value in self._fit.items() if key != "components" and value is not None}
            inputs: Any = fit_points(moved, self._fit["components"], **options) if self._fit else moved
            found += int((self._network(inputs).argmax(-1) == place).sum())
            progress(len(part))
        return found / len(clouds)


def pairs_of(count: int) -> Tensor:  # [P, 2]
    """Which objects are the two ends, never one twice; each pair has its own where there are enough."""
    generator = torch.Generator().manual_seed(SEED)
    if count >= 2 * PAIRS:
        return torch.randperm(count, generator=generator)[: 2 * PAIRS].view(PAIRS, 2)
    return torch.stack([torch.randperm(count, generator=generator)[:2] for _ in range(PAIRS)])


def interpolations(
    network: Any,
    objects: Tensor,  # [S, M, 3]
    *,
    flatten: bool = False,
) -> Tensor:  # [P * STEPS, M, 3]
    """The clouds between the ends of each pair, without the ends, by random numbers of the CPU."""
    generator, device = torch.Generator().manual_seed(SEED), next(network.parameters()).device
    found = [
        network.between(objects[pair].to(device), STEPS + 2, generator, points=objects.shape[1], flatten=flatten)[1:-1]
        for pair in pairs_of(len(objects))
    ]
    return torch.cat(found).cpu()


def blends(objects: Tensor) -> Tensor:  # [S, M, 3] -> [P * STEPS, M, 3]
    """Some points of each end, at random, the more of the second the further on the way."""
    generator, points = torch.Generator().manual_seed(SEED), objects.shape[1]
    found = []
    for first, second in objects[pairs_of(len(objects))]:
        for step in range(1, STEPS + 1):
            taken = torch.rand(points, generator=generator) < step / (STEPS + 1)
            found.append(torch.where(taken[:, None], second, first))
    return torch.stack(found)
