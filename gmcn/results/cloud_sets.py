"""Measures of a set of generated clouds, by test and training objects. Needs SciPy.

After PointFlow (Yang et al. 2019), by each of the distances of :mod:`gmcn.tasks.generation.measures_of_clouds`:

- ``mmd``, minimum matching distance: from a test object to its nearest sample, the mean over test objects;
- ``coverage``: the share of test objects that are the nearest one to some sample;
- ``nna``, 1-NNA: of samples and test objects together, the share whose nearest neighbour (not itself) is of its own
  set, and nearer than any of the other. 0.5: the sets cannot be told apart; 1: they can; far below 0.5: samples are
  copies of test objects.

Besides these:

- ``jsd``: the Jensen-Shannon divergence, in bits, of the shares of all points in the cells of a grid of 28 x 28 x 28
  over the cube around the origin that holds test and training objects; points outside are in its outermost cells;
- ``copies``: the median Chamfer distance of a sample to its nearest training object, over that of a test object. Well
  below 1: samples repeat training objects.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gmcn.errors import InputError
from gmcn.tasks.generation.measures_of_clouds import CHAMFER, EARTH_MOVERS, Clouds, Distance, Pairs

MEASURES = tuple(f"{measure}_{name}" for measure in ("nna", "coverage", "mmd") for name in ("chamfer", "emd"))
MEASURES += ("jsd", "copies")
GRID = 28
SEED = 0  # of the choice of points for the earth mover's distance
NEARER = 1 - 1e-12  # but for rounding
Progress = Callable[[int], object]
Found = dict[str, float | int | None]


def silent(count: int) -> None:
    """No progress."""


def compare_sets(
    samples: Tensor,  # [n, M, 3]
    reference: Tensor,  # [S, M, 3]
    training: Tensor,  # [T, M, 3]
    emd_points: int = 512,
    progress: Progress = silent,
) -> Found:
    """The measures of samples by test objects (``reference``) and training objects: :meth:`Reference.compare`."""
    return Reference(reference, training, emd_points).compare(samples, progress)


class Reference:
    """What sets of samples are compared with; distances among its own objects are found once for all sets.

    The earth mover's distance is that of ``emd_points`` of each cloud, the same random choice of rows in all of them.

    Raises:
        InputError: clouds that are none, or of different numbers of points, with which all distances change.
    """

    def __init__(
        self,
        reference: Tensor,  # [S, M, 3]
        training: Tensor,  # [T, M, 3]
        emd_points: int = 512,
    ) -> None:
        generator = torch.Generator().manual_seed(SEED)
        rows = torch.randperm(reference.shape[1], generator=generator)[:emd_points]
        self.rows: dict[str, Tensor | slice] = {"chamfer": slice(None), "emd": rows}
        self.reference = Clouds(reference)
        self.training = self._checked(training, "training objects")
        self.sets = {name: Clouds(reference[:, rows]) for name, rows in self.rows.items()}
        self.within = {name: Pairs(one, one, _DISTANCES[name]) for name, one in self.sets.items()}
        self.extent = max(self.reference.extent, self.training.extent)
        self.novelty: float | None = None

    def searches(self, count: int) -> int:
        """How many searches for nearest clouds :meth:`compare` tells its progress of, for so many samples."""
        return 5 * count + 4 * len(self.reference)

    def compare(self, samples: Tensor, progress: Progress = silent) -> Found:  # [n, M, 3]
        """The measures, ``<measure>_chamfer`` and ``<measure>_emd``, with the medians behind ``copies``, and sizes.

        100 samples by 100 test and 889 training objects of 1,024 points take about a minute of one thread.
        ``copies`` is None where test objects are training objects.
        """
        clouds = self._checked(samples, "samples")
        found: Found = {"jsd": self._divergence(clouds)}
        for name, rows in self.rows.items():
            measured = self._neighbours(name, Clouds(samples[:, rows]), progress)
            found |= {f"{measure}_{name}": value for measure, value in measured.items()}
        if self.novelty is None:
            self.novelty = self._to_training(self.reference, silent)
        distance = self._to_training(clouds, progress)
        return {
            **found,
            "copies": distance / self.novelty if self.novelty else None,
            "to_training": distance,
            "test_to_training": self.novelty,
            "samples": len(clouds),
            "reference": len(self.reference),
            "training": len(self.training),
            "points": samples.shape[1],
            "emd_points": self.sets["emd"].points.shape[1],
        }

    def _neighbours(self, name: str, samples: Clouds, progress: Progress) -> dict[str, float]:
        pairs = Pairs(samples, self.sets[name], _DISTANCES[name])
        to_reference, covered = pairs.nearest(progress=progress)
        to_samples, _ = pairs.nearest(axis=0, progress=progress)
        # Is there another one of its own set that is nearer than the nearest of the other set?
        among = Pairs(samples, samples, _DISTANCES[name])
        _, own = among.nearest(limits=to_reference * NEARER, progress=progress)
        _, others = self.within[name].nearest(limits=to_samples * NEARER, progress=progress)
        return {
            "mmd": float(to_samples.mean()),
            "coverage": len(np.unique(covered)) / len(to_samples),
            "nna": float(np.concatenate([own >= 0, others >= 0]).mean()),
        }

    def _to_training(self, clouds: Clouds, progress: Progress) -> float:
        return float(np.median(Pairs(clouds, self.training, CHAMFER).nearest(progress=progress)[0]))

    def _divergence(self, samples: Clouds) -> float:
        p, q = (self._shares(clouds) for clouds in (samples, self.reference))
        middle = (p + q) / 2
        parts = (share[share > 0] * np.log2(share[share > 0] / middle[share > 0]) for share in (p, q))
        return float(max(0.0, sum(part.sum() for part in parts) / 2))

    def _shares(self, clouds: Clouds) -> np.ndarray:  # [cells]
        places = ((clouds.points / (self.extent or 1.0) + 1) * (GRID / 2)).clip(0, GRID - 1).astype(int)
        counts = np.bincount(np.ravel_multi_index(tuple(places.reshape(-1, 3).T), (GRID,) * 3), minlength=GRID**3)
        return counts / counts.sum()

    def _checked(self, clouds: Tensor, what: str) -> Clouds:
        checked, points = Clouds(clouds), self.reference.points.shape[1]
        if clouds.shape[1] != points:
            raise InputError(
                f"the {what} have {clouds.shape[1]} points, but the test objects that they are compared with have "
                f"{points}; distances of clouds depend on that number, so give as many"
            )
        return checked


_DISTANCES: dict[str, Distance] = {"chamfer": CHAMFER, "emd": EARTH_MOVERS}
